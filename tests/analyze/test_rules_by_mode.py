"""Each pair of a rule and a mode that is executed: a machine paused in that mode, with the mistake, and its healthy twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from analyze.boot_builder import healthy
from analyze.mode_machine import (
    CODE, DATA, GDT, HANDLER, IDT, LOADER, NX, PS, SIZE, STACK, Machine, P, U, W,
)  # fmt: skip
from analyze.test_rules_faults import FAULTS, Break, findings
from boot.reference import ROOT as TREE

from cr3scope.diagnose.audit import audit
from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.dead import page_fault_cause
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import BITS_32, LONG, PAGED, WITH_NX, Mode

FETCH, READ, WRITE = AccessKind.FETCH, AccessKind.READ, AccessKind.WRITE
EFER_NXE, CR4_PSE, CR4_SMEP = 0x800, 0x10, 1 << 20
SECOND_LARGE = 4 << 20  # in the second of several large pages of 4 MiB, or the third of 2 MiB
LEVELS = {Mode.LEVELS_4: 4, Mode.LEVELS_5: 5}
MOV_CR3 = bytes.fromhex("0f22d8")
Change = Callable[[Machine], None]


@dataclass(frozen=True)
class Death:
    """An access that kills the CPU once ``damage`` is done. ``at``: in the high half, if not ``is_low``."""

    rule: str
    modes: frozenset[Mode]
    kind: AccessKind
    at: int
    damage: Change
    prepare: Change = lambda _machine: None
    is_low: bool = False

    def virt(self, machine: Machine) -> int:
        return self.at if self.is_low else machine.high + self.at


def no_leaf(at: int) -> Change:
    return lambda machine: machine.edit(machine.high + at, 1, clear_bits=P)


def edited(at: int, level: int, set_bits: int = 0, clear_bits: int = 0) -> Change:
    return lambda machine: machine.edit(machine.high + at, level, set_bits, clear_bits)


def nx_without_nxe(machine: Machine) -> None:
    machine.registers["EFER"] &= ~EFER_NXE


def reserved(machine: Machine) -> None:
    """Above MAXPHYADDR; of 32-bit paging it is bit 21 of a 4 MiB page (SDM 3A, table 5-4)."""
    if machine.mode is Mode.BITS_32:
        machine.put(machine.high, 2, 1 << 21 | P | W | PS)
    else:
        machine.edit(machine.high + DATA, 1, set_bits=1 << 45)


def null_is_code(machine: Machine) -> None:
    machine.map(0, CODE, P)


def user_code(machine: Machine) -> None:
    machine.edit(machine.high + CODE, 1, set_bits=U)


def smep(machine: Machine) -> None:
    machine.registers["CR4"] |= CR4_SMEP


def virtual_table(machine: Machine) -> None:
    """The entry above the page holds its table's address as the kernel sees it, as far as an entry can."""
    machine.edit(machine.high + DATA, 2, set_bits=machine.high & (0xFFFF_F000 if not machine.is_long else 0x000F_FFFF_FFFF_F000))


def large_page(machine: Machine) -> None:
    """The kernel's memory by one large page."""
    machine.put(machine.high, 2, P | W | PS)


def large_pages(machine: Machine) -> None:
    """And what follows it."""
    size = machine.form(2).page_bytes
    for number in range(4):
        machine.put(machine.high + number * size, 2, number * size | P | W | PS)


def no_large_page(machine: Machine) -> None:
    """Without PS the CPU takes the memory itself, full of zeros, for a table."""
    machine.edit(machine.high + SECOND_LARGE, 2, clear_bits=PS)


def pse_off(machine: Machine) -> None:
    machine.registers["CR4"] &= ~CR4_PSE


def root_in_no_ram(machine: Machine) -> None:
    machine.registers["CR3"] = 2 * SIZE


def loader(machine: Machine) -> None:
    """The loader's page, one to one, with the switch in it."""
    machine.map(LOADER, LOADER, P)
    machine.memory[LOADER + 0x10 : LOADER + 0x13] = MOV_CR3


DEATHS = [
    Death("code-unmapped", PAGED, FETCH, CODE, no_leaf(CODE)),
    Death("stack-unmapped", PAGED, WRITE, STACK + 0x7F8, no_leaf(STACK)),
    Death("stack-readonly", PAGED, WRITE, STACK + 0x7F8, edited(STACK, 1, clear_bits=W)),
    Death("upper-level-readonly", PAGED, WRITE, DATA, edited(DATA, 2, clear_bits=W)),
    Death("nx-leaf-code", WITH_NX, FETCH, CODE, edited(CODE, 1, set_bits=NX)),
    Death("nx-upper-level", WITH_NX, FETCH, CODE, edited(CODE, 2, set_bits=NX)),
    Death("nx-without-nxe", WITH_NX, READ, DATA, nx_without_nxe),
    Death("reserved-bits", PAGED, READ, DATA, reserved),
    Death("jump-to-null", PAGED, FETCH, 0, lambda machine: machine.edit(0, 1, clear_bits=P), null_is_code, is_low=True),
    Death("access-fault", PAGED, WRITE, DATA, edited(DATA, 1, clear_bits=W)),
    Death("smep-smap-user-bit", PAGED, FETCH, CODE, smep, user_code),
    Death("virt-address-in-entry", PAGED, READ, DATA, virtual_table),
    Death("page-size-missing", PAGED, READ, SECOND_LARGE, no_large_page, large_pages),
    Death("large-pages-off", BITS_32, READ, DATA, pse_off, large_page),
    Death("bad-root", PAGED, READ, DATA, root_in_no_ram),
    Death("identity-missing-trampoline", PAGED, FETCH, LOADER + 0x13, lambda machine: machine.edit(LOADER, 1, clear_bits=P), loader, True),
    Death("idt-unmapped", PAGED, READ, IDT + 8 * 14, no_leaf(IDT)),
    Death("gdt-unmapped", PAGED, READ, GDT + 8, no_leaf(GDT)),
    Death("handler-unmapped", PAGED, FETCH, HANDLER + 16 * 14, no_leaf(HANDLER)),
]  # fmt: skip


def no_idt(machine: Machine) -> None:
    machine.idt_limit = 0


def bad_gate(machine: Machine) -> None:
    machine.gate(14, kind=0x0E)


def no_own_stack(machine: Machine) -> None:
    machine.gate(8, ist=0)


def task(machine: Machine) -> None:
    machine.tr = 0x18


def user_window(machine: Machine) -> None:
    """Where user code may write, the kernel's code appears once more."""
    machine.map(0x40_0000, CODE, P | W | U)


def user_page(machine: Machine) -> None:
    machine.map(0x40_0000, DATA, P | W | U)


@dataclass(frozen=True)
class Standing:
    """A mistake that has not struck yet, told of a CPU that stands."""

    rule: str
    modes: frozenset[Mode]
    damage: Change
    prepare: Change = lambda _machine: None


STANDING = [
    Standing("idt-not-loaded", PAGED, no_idt),
    Standing("idt-gate-bad", PAGED, bad_gate),
    Standing("double-fault-stack", LONG, no_own_stack, task),
    Standing("tables-user-writable", PAGED, user_window, user_page),
    Standing("code-writable", WITH_NX, edited(CODE, 1, set_bits=W)),
    Standing("null-mapped", PAGED, lambda machine: machine.map(0, DATA, P | W | machine.nx)),
    Standing("stack-unmapped", PAGED, no_leaf(STACK)),
    Standing("handler-unmapped", PAGED, no_leaf(HANDLER)),
    Standing("idt-unmapped", PAGED, no_leaf(IDT)),
    Standing("gdt-unmapped", PAGED, no_leaf(GDT)),
]


def rows(table: list[Death] | list[Standing]) -> list[object]:
    return [pytest.param(row, mode, id=f"{row.rule}-{mode.name}") for row in table for mode in Mode if mode in row.modes]


@pytest.mark.parametrize(("row", "mode"), rows(DEATHS))
def test_a_dead_cpu_is_told_the_rule_in_its_mode(row: Death, mode: Mode) -> None:
    machine = Machine(mode)
    row.prepare(machine)
    virt = row.virt(machine)
    assert machine.fault(row.kind, virt) is None  # the twin lives
    row.damage(machine)
    fault = machine.fault(row.kind, virt)
    assert fault is not None
    assert [one.rule for one in page_fault_cause(machine.stopped(), fault)] == [row.rule]


@pytest.mark.parametrize(("row", "mode"), rows(STANDING))
def test_a_standing_cpu_is_told_the_rule_in_its_mode(row: Standing, mode: Mode) -> None:
    machine = Machine(mode)
    row.prepare(machine)
    assert [one.rule for one in audit([machine.stopped()], None, True)] == []
    row.damage(machine)
    assert row.rule in [one.rule for one in audit([machine.stopped()], None, True)]


@pytest.mark.parametrize("mode", LEVELS)
@pytest.mark.parametrize(("rule", "damage"), FAULTS)
def test_a_trace_is_told_the_rule_in_each_mode_that_a_loader_switches_to(rule: str, damage: Break, mode: Mode) -> None:
    scene = healthy(LEVELS[mode])
    assert findings(scene) == ()
    damage(scene)
    assert findings(scene)[0].rule == rule


def executed() -> set[tuple[str, Mode]]:
    """The pairs that the tests above execute."""
    of_machines = {(row.rule, mode) for row in [*DEATHS, *STANDING] for mode in row.modes}
    return of_machines | {(rule, mode) for rule, _ in FAULTS for mode in LEVELS}


def test_the_page_of_faults_says_how_many_pairs_are_executed() -> None:
    declared = {(rule.id, mode) for rule in RULES for mode in rule.modes}
    assert executed() <= declared
    words = f"{len(executed())} of the {len(declared)} marks are executed mode by mode"
    assert words in (TREE / "docs/faults.md").read_text(), f"scripts/generate_faults.py: {words}"
