"""Why an exception of protected mode could not be delivered, by the model and the paused machine's own memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.input.logs.delivery import has_no_idt
from cr3scope.input.logs.event import InterruptRecord, Kind
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.model.delivered import Raised, Refusing
from cr3scope.model.delivery import Delivery
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.names import covered

_RULES = {
    Refusing.GATE: "idt-gate-bad",
    Refusing.CODE: "selector-mismatch",
    Refusing.STACK: "ring0-stack-missing",
    Refusing.TSS: "gdt-unmapped",
    Refusing.TASK: "idt-gate-bad",
}


def undelivered(now: StoppedCpu, record: InterruptRecord, raised: int) -> Iterator[Finding]:
    """Yield at most one finding: what delivery of the record's event met, if the model meets it too.

    ``raised``: the vector of the exception that came of it. Nothing of gates and stacks that tables refuse: their rules
    tell more; nor where nobody has loaded an IDT.
    """
    if has_no_idt(record.cpu):
        return
    outcome = _delivered(now, record)
    if not isinstance(outcome, Raised) or outcome.vector != raised:
        return
    rule = _RULES.get(outcome.refusing) if outcome.refusing is not None else None
    if rule is None:
        return
    found = now.gate(record.vector)
    proof = [message("{vector} could not be delivered: {raised} with error code {error_code:04x}", vector=Vector(record.vector),
                     raised=Vector(raised), error_code=Hex(outcome.error_code))]  # fmt: skip
    if found is not None:
        proof.append(message("gate {gate} at {virt} is {value:#018x}", gate=record.vector, virt=Hex(found[0]), value=Hex(found[1])))
    veto = outcome.fault
    words = "{touching} cannot be used to deliver {vector}"
    if veto is not None:
        words = "{touching} cannot be reached to deliver {vector}"
    told = BY_ID[rule].finding(message(words, touching=outcome.touching, vector=Vector(record.vector)), *proof)
    if veto is None or not veto.guilty:
        yield told
        return
    entry = veto.guilty[0]
    why = Message(veto.reason.of("{veto}"), {"veto": entry})
    yield replace(told, entry=entry, range=covered(entry, veto.virt), proof=(why, *told.proof))


def _delivered(now: StoppedCpu, record: InterruptRecord) -> object:
    registers = now.delivery_registers
    if record.rip is not None and record.rsp is not None:
        registers = replace(registers, rip=record.rip, rsp=record.rsp)
    if record.cpu.cpl is not None:
        registers = replace(registers, cs=registers.cs & ~RPL | record.cpu.cpl)
    delivery = Delivery(now, now.cpu, now, now.platform)
    return delivery.deliver(record.vector, registers, record.kind is Kind.INT)
