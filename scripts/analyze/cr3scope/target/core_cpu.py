"""The CPU of an ELF core: stopped for good, with whatever memory the core holds."""

from __future__ import annotations

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.input.sources.elf_core import Core
from cr3scope.target.stopped_cpu import BASES, StoppedCpu, Table
from cr3scope.target.switch import switch_at_pc, turns_paging_on
from cr3scope.x86.cpu_state import CR0_PG, CR4_PAE
from cr3scope.x86.segment import Segment

_TABLES = ("IDT", "GDT")
_SELECTORS = ("CS", "DS", "ES", "FS", "GS", "SS", "TR")


def stopped_cpu(core: Core, path: str) -> StoppedCpu:
    """Return the first CPU that stands at a `mov cr3`, else the first one with paging on, or about to turn it on.

    UnusableInput if the core tells of none, or if the registers of one cannot be read: it may be the one at the switch.
    """
    for number, why in core.unread[:1]:
        raise UnusableInput(f"{path}: the registers of CPU {number} cannot be read: {why}")
    cpus = [_one(core, number, one) for number, one in enumerate(core.cpus)]
    if not cpus:
        raise UnusableInput(f"{path}: the core tells no CPU's registers (no QEMU note)")
    paging = [one for one in cpus if one.cpu.cr0 & CR0_PG] or [one for one in cpus if turns_paging_on(one)]
    if not paging:
        raise UnusableInput(f"{path}: no CPU of the core has paging on: there are no tables to judge")
    return next((one for one in paging if switch_at_pc(one) is not None), paging[0])


def _one(core: Core, number: int, one: CoreCpu) -> StoppedCpu:
    idt, gdt = (one.segments.get(name, Segment()) for name in _TABLES)
    registers = dict(one.registers)
    for name in BASES:
        segment = one.segments.get(name.partition("_")[0])
        if segment is not None:
            registers[name] = segment.base
    efer = core.words.efer
    if efer is None:
        is_paged = registers.get("CR0", 0) & CR0_PG and registers.get("CR4", 0) & CR4_PAE
        efer = core.efer if is_paged else 0
    registers["EFER"] = efer
    selectors = {name: one.segments[name].selector for name in _SELECTORS if name in one.segments}
    return StoppedCpu(
        core.memory, registers, core.words.phys_bits, selectors,
        Table(idt.base, idt.limit), Table(gdt.base, gdt.limit), number, one.code_bits,
        core.words.platform, lambda: core.words.ram, is_recorded=True,
        segments={name: each for name, each in one.segments.items() if name not in _TABLES},
    )  # fmt: skip
