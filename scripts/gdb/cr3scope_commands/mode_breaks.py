"""Breakpoints before the instructions that change the CPU's mode, on the condition that they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import gdb

from cr3scope.model.control_change import EFER
from cr3scope.x86.cpu_state import CR0_PE, CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, CR4_SMAP, CR4_SMEP
from cr3scope.x86.mode_switch import ModeSwitch, SwitchKind, find_mode_switches
from cr3scope_commands.gdb_settings import in_c

_CR0 = CR0_PG | CR0_PE
_CR4 = CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP | CR4_SMAP


def mode_switches(code: Iterable[tuple[int, bytes]], with_tables: bool) -> Iterator[ModeSwitch]:
    """Yield the switches in pieces of code at their addresses."""
    for start, data in code:
        for one in find_mode_switches(data, with_tables):
            yield ModeSwitch(start + one.offset, one.kind, one.register)


def set_break(one: ModeSwitch, commands: str) -> None:
    """Stop before the instruction and run the commands; of a load of CR0, CR4 or an MSR only where it changes a mode."""
    with in_c():
        point = gdb.Breakpoint(f"*{one.offset:#x}", gdb.BP_HARDWARE_BREAKPOINT)
        condition = _condition(one)
        if condition:
            point.condition = condition
    point.commands = commands


def words(found: Iterable[ModeSwitch]) -> str:
    """Return the addresses, those of a kind together."""
    by_kind: dict[SwitchKind, list[str]] = {}
    for one in found:
        by_kind.setdefault(one.kind, []).append(f"{one.offset:#x}")
    return "; ".join(f"{kind.value} {', '.join(places)}" for kind, places in by_kind.items())


def _condition(one: ModeSwitch) -> str:
    masks = {SwitchKind.CR0: ("cr0", _CR0), SwitchKind.CR4: ("cr4", _CR4)}
    if one.kind is SwitchKind.MSR:
        return f"(unsigned) ${_wide('cx')} == {EFER:#x}"
    if one.kind not in masks:
        return ""
    register, mask = masks[one.kind]
    return f"(((unsigned long) ${_wide(one.register)}) ^ ((unsigned long) ${register})) & {mask:#x}"


def _wide(name: str) -> str:
    """The register as gdb calls it in the architecture that it has chosen."""
    frame = gdb.selected_frame()
    return f"r{name}" if frame.architecture().name().startswith("i386:x86-64") else f"e{name}"
