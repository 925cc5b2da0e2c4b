"""What two records of one boot tell twice: where they differ, one of them is wrong, and nobody knows which."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.capture.records import Boot, CpuRecord
from cr3scope.message import Hex, Message, message

_TABLES = {"gdt": ("gdt_base", "gdt_limit"), "idt": ("idt_base", "idt_limit")}  # by the name of the `memory` record
_WORDS = "the CPU's {what} at the handoff is {told}, and {other} is at {place}: the records contradict each other"


def contradictions(boot: Boot) -> Iterator[tuple[int, Message]]:
    """Yield the line and what is to be said of each record that another one contradicts."""
    cpu = boot.cpus.get("handoff")
    if cpu is None:
        return
    first = next(iter(boot.plan), None)
    if first is not None and first.step == 0 and first.virt != _register(cpu, "rip"):
        yield first.line, _said("rip", cpu, "the first step of the plan", first.virt)
    for memory in boot.memories.values():
        base, limit = _TABLES.get(memory.name, ("", ""))
        if memory.when == cpu.when and _register(cpu, limit) and memory.virt != _register(cpu, base):
            yield memory.line, _said(base, cpu, f"what is recorded of the {memory.name.upper()}", memory.virt)


def _register(cpu: CpuRecord, name: str) -> int | None:
    return cpu.registers.get(name)


def _said(name: str, cpu: CpuRecord, other: str, place: int) -> Message:
    return message(_WORDS, what=name, told=Hex(_register(cpu, name) or 0), other=other, place=Hex(place))
