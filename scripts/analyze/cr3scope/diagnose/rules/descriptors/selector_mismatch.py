"""Gates that name a code segment which the GDT does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.safety_net import severity_of
from cr3scope.input.logs.delivery import Why
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, GATE_BYTES, Gate
from cr3scope.x86.mode import PROTECTED

if TYPE_CHECKING:
    from cr3scope.x86.registers import Registers

_VITAL = (3, 8, 13, 14)
_OF_SELECTOR = (Why.BEYOND_GDT, Why.BAD_SELECTOR, Why.SEGMENT_NOT_PRESENT)


def _check(context: Context) -> Iterator[Finding]:
    registers = context.registers
    raised = [step for step in context.boot.plan if step.vector is not None]
    wrong: dict[int, list[Vector]] = {}
    whys: dict[int, Message] = {}
    for vector in sorted({*_VITAL, *(step.vector for step in raised if step.vector is not None)}):
        gate = _gate(context, registers, vector)
        why = _refusal(context, registers, gate.selector) if gate and gate.present else None
        if gate and why:
            wrong.setdefault(gate.selector, []).append(Vector(vector))
            whys[gate.selector] = why
    for selector, vectors in wrong.items():
        step = next((step.step for step in raised if step.vector in vectors), None)
        finding = RULE.finding(
            message(
                "the IDT's gates name code selector {selector:02x}h, {why}",
                selector=Hex(selector),
                why=whys[selector],
            ),
            message(
                "gates of {vectors}; CS at the handoff is {cs:02x}h",
                vectors=tuple(vectors),
                cs=Hex(registers.cs),
            ),
            severity=severity_of(context, "idt") if step is None else Severity.ERROR,
        )
        yield replace(finding, step=step)


def _bytes(context: Context, table: str, virt: int, count: int) -> bytes | None:
    memory = context.boot.memories.get((table, "handoff"))
    if memory is None or virt < memory.virt:
        return None
    data = memory.data[virt - memory.virt : virt - memory.virt + count]
    return data if len(data) == count else None


def _gate(context: Context, registers: Registers, vector: int) -> Gate | None:
    offset = GATE_BYTES * vector
    if offset + GATE_BYTES - 1 > registers.idt_limit:
        return None
    data = _bytes(context, "idt", registers.idt_base + offset, GATE_BYTES)
    return Gate.decode(data) if data else None


def _refusal(context: Context, registers: Registers, selector: int) -> Message | None:
    from cr3scope.diagnose.shared.refused_gate import refused_selector  # follows code: a log alone has none

    def descriptor(offset: int) -> bytes | None:
        return _bytes(context, "gdt", registers.gdt_base + offset, DESCRIPTOR_BYTES)

    return refused_selector(selector, registers.gdt_limit, descriptor)


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is None:
        return
    cpu = failed.record.cpu
    gate, selector = failed.record.vector, failed.selector
    if failed.why is Why.NULL_SELECTOR:
        title = message("gate {gate} of the IDT names the null selector", gate=gate)
    elif failed.why not in _OF_SELECTOR or selector is None:
        return
    elif failed.why is Why.BEYOND_GDT and cpu.gdt is not None:
        title = message("gate {gate} of the IDT names selector {selector:02x}h, beyond the GDT's limit {gdt_limit:x}h",
                        gate=gate, selector=Hex(selector), gdt_limit=Hex(cpu.gdt[1]))  # fmt: skip
    elif failed.why is Why.SEGMENT_NOT_PRESENT:
        title = message("gate {gate} of the IDT names selector {selector:02x}h, whose segment is not present",
                        gate=gate, selector=Hex(selector))  # fmt: skip
    else:
        title = message("gate {gate} of the IDT names selector {selector:02x}h, which is no code segment that it may lead to",
                        gate=gate, selector=Hex(selector))  # fmt: skip
    yield RULE.finding(title, undelivered(failed.record))


RULE = Rule(
    id="selector-mismatch",
    title="the IDT's gates name a code segment that the GDT lacks",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "A gate holds a selector, and delivery reads its descriptor from the GDT of that moment. "
        "Gates made for another GDT (08h is common, UEFI's 64-bit code segment is often 38h) name "
        "data, a 32-bit segment or nothing there, and delivery raises #GP with the selector as "
        "error code."
    ),
    shows=(
        "The exception, then v=0d with e= the selector, then v=08, then reset. No fault: nothing."
    ),
    fix="Fill the gates with the CS that the loaded GDT has (mov from CS), after lgdt, not before.",
    manual="Intel SDM volume 3A, 7.13, 7.14.1 and 3.4.5 (L, D, DPL)",
    check=_check,
    needs=SWITCH,
    logged=_logged,
)
