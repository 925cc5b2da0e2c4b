"""A gate of the IDT that the CPU refuses."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import LIVE, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.no_idt import is_no_idt
from cr3scope.diagnose.shared.refused_gate import refused_gate
from cr3scope.input.logs.delivery import Why, gate_bytes
from cr3scope.input.logs.event import InterruptRecord, Kind
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.x86.descriptors import GATE_BYTES
from cr3scope.x86.exceptions import DOUBLE_FAULT, PAGE_FAULT, PROTECTION
from cr3scope.x86.mode import PROTECTED


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is None:
        return
    record = failed.record
    said = _refused(failed.why, record, death.refusal(failed))
    if said is not None:
        yield RULE.finding(message("gate {gate} of the IDT {said}", gate=record.vector, said=said), undelivered(record), *_place(record))


def _check(context: Context) -> Iterator[Finding]:
    registers = context.registers
    if is_no_idt(registers.idt_base, registers.idt_limit):
        return  # idt-not-loaded tells that
    for vector in (PAGE_FAULT, PROTECTION, DOUBLE_FAULT):
        gate = context.gate(vector)
        is_beyond = registers.mode.gate_bytes * (vector + 1) - 1 > registers.idt_limit
        why = message("lies beyond the IDT's limit {idt_limit:x}h", idt_limit=Hex(registers.idt_limit)) if is_beyond else None
        if gate is not None:
            why = refused_gate(gate)
        if why is not None:
            yield RULE.finding(
                message("gate {gate} of the IDT ({vector}) {why}", gate=vector, vector=Vector(vector), why=why),
                message("the next {vector} cannot be delivered: a double fault, or the end", vector=Vector(vector)),
            )
            return


def _refused(why: Why | None, record: InterruptRecord, error: int | None) -> Message | None:
    """What is wrong with a gate; ``error``: as the CPU said it, None if that was lost in a double fault."""
    idt = record.cpu.idt
    if why is Why.GATE_NOT_PRESENT:
        return Message("is not present" if error is not None else "is not present, or the code segment that it names is not")
    if why is Why.BEYOND_IDT and idt is not None and idt[1]:
        return message("lies beyond the IDT's limit {idt_limit:x}h", idt_limit=Hex(idt[1]))
    if why not in (Why.GATE_BAD, Why.GATE_BAD_OR_PRIVILEGED) or not _is_within_limit(record):
        return None
    if error is None:
        return Message("is refused, or the selector in it: #GP")
    if record.kind is Kind.INT and record.cpu.cpl:
        return message("is no gate of the IDT, or its DPL does not let ring {ring} use it", ring=record.cpu.cpl)
    return Message("is no interrupt or trap gate: #GP")


def _is_within_limit(record: InterruptRecord) -> bool:
    size = gate_bytes(record.cpu) or GATE_BYTES
    return record.cpu.idt is not None and (record.vector + 1) * size - 1 <= record.cpu.idt[1]


def _place(record: InterruptRecord) -> Iterator[Message]:
    size, idt = gate_bytes(record.cpu), record.cpu.idt
    if size is not None and idt is not None:
        yield message(
            "its {gate_bytes} bytes lie at {virt}", gate_bytes=size, virt=Hex(idt[0] + record.vector * size)
        )


RULE = Rule(
    id="idt-gate-bad",
    title="a gate of the IDT cannot be used",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "The exception is not the killer: its gate is not present, is no gate, or names a "
        "selector that is no code segment of the GDT. Loaders that keep the firmware's IDT "
        "under their own GDT, or copy gates with another GDT's selector, meet this at the "
        "first exception."
    ),
    shows=(
        "The exception, then v=0d (or v=0b) at the same RIP with the selector, or the vector "
        "* 8 + 2, as its error code."
    ),
    fix=(
        "Fill in the gates of all that can come: present, interrupt or trap gates of the CPU's mode, with the selector of a "
        "code segment in the GDT that is loaded (a 64-bit one in long mode)."
    ),
    manual="Intel SDM volume 3A, 7.13 and 7.14",
    check=_check,
    needs=LIVE,
    logged=_logged,
)
