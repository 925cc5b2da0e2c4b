"""Why a guest without a trace died: from its memory, the registers, and the exceptions in the log."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

import pytest
from analyze.dead_guest import CODE, GDT, IDT, PD, PDPT, PT, ROOT, STACK, Ram, guest
from analyze.said import title

from cr3scope.diagnose.causes import causes
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.finding import Finding
from cr3scope.input.logs.log_report import LogReport
from cr3scope.render.finding import facts, proof
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

UD, GP, PF, BP, INVALID_TSS = 6, 13, 14, 3, 10
CODE_64, CODE_32, DATA = 0x00AF9A000000FFFF, 0x00CF9A000000FFFF, 0x00CF92000000FFFF


def gate(selector: int = 8, kind: int = 0x8E) -> bytes:
    return struct.pack("<HHBBHII", CODE & 0xFFFF, selector, 0, kind, CODE >> 16, 0, 0)


def died(ram: Ram, *faults: Fault, at: Mapping[str, int] | None = None, **registers: int) -> list[Finding]:
    """Of the last of these exceptions."""
    report = LogReport(exceptions=faults, first=faults[0], fatal=faults[-1], ending=Ending.TRIPLE_FAULT)
    return list(causes(guest(ram, **registers), report, [], AtFault(at or {})))


GATES = {
    "not present": (gate(kind=0x0E), "idt-gate-bad", "IDT gate 3 (#BP) at 0x10030 is not present"),
    "of another type": (gate(kind=0x85), "idt-gate-bad",
                        "IDT gate 3 (#BP) at 0x10030 is no 64-bit interrupt or trap gate (type 5h)"),
    "beyond the GDT": (gate(0x40), "selector-mismatch",
                       "IDT gate 3 (#BP) at 0x10030 names selector 40h, outside the GDT, whose limit is 0x1f"),
    "32-bit code": (gate(0x10), "selector-mismatch",
                    "IDT gate 3 (#BP) at 0x10030 names selector 10h, which is no 64-bit ring 0 code segment in the GDT"),
    "null": (gate(0), "selector-mismatch", "IDT gate 3 (#BP) at 0x10030 names selector 00h, the null selector"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "rule", "words"), GATES.values(), ids=GATES)
def test_a_gate_that_delivery_refuses_is_named(bad: bytes, rule: str, words: str) -> None:
    [found] = undelivered(bad)
    assert (found.rule, title(found)) == (rule, words)
    assert {"gate": 3, "vector": 3, "virt": "0x10030", "gdt_limit": "0x1f"}.items() <= facts(found).items()


def test_a_gate_that_is_good_is_not_blamed() -> None:
    assert undelivered(gate()) == []


def test_a_gate_is_not_blamed_for_a_gdt_that_cannot_be_read() -> None:
    assert undelivered(gate(0x10), unmapped=GDT) == []


def test_a_gate_of_protected_mode_is_not_asked_for_64_bit_code() -> None:
    """Where the model does not follow the delivery, as out of virtual-8086 mode, the gate's 32-bit code was called wrong."""
    ram = Ram()
    ram.put(GDT, struct.pack("<4Q", 0, CODE_32, DATA, 0))
    ram.put(IDT + 8 * BP, gate()[:8])
    ram.put(CODE, b"\xcc")
    dead = replace(guest(ram, CR0=1, CR4=0, EFER=0, RFL=1 << 17 | 2), code_bits=16)
    faults = Fault(BP, None, None, CODE), Fault(INVALID_TSS, 0x10, None, CODE)
    report = LogReport(exceptions=faults, first=faults[0], fatal=faults[1], ending=Ending.TRIPLE_FAULT)
    assert list(causes(dead, report, [], AtFault({}))) == []


def test_the_instruction_is_read_where_its_own_segment_had_it() -> None:
    """The CPU stands in a handler's segment, with another base: bytes that nobody executed were told."""
    ram = Ram()
    ram.put(CODE, b"\xf4")
    dead = replace(guest(ram, CR0=1, CR4=0, EFER=0), code_bits=32)
    report = LogReport(first=Fault(GP, 0, None, 7), fatal=Fault(GP, 0, None, 7), ending=Ending.DELIVERED)
    [found] = causes(dead, report, [], AtFault({"RIP": 7}, 16, CODE))
    assert title(found) == "`hlt` is refused with #GP(0)"
    ram.put(CODE, b"\x0f\x0b")
    report = LogReport(first=Fault(UD, None, None, 7), fatal=Fault(UD, None, None, 7), ending=Ending.DELIVERED)
    [found] = causes(dead, report, [], AtFault({"EIP": 7}, 16, CODE))
    assert title(found) == "ud2 at RIP=0x7: the program gave up by itself"


def undelivered(bad: bytes, unmapped: int = 0) -> list[Finding]:
    """#BP through this gate, and #GP on its delivery."""
    ram = Ram()
    ram.put(CODE, b"\xcc")
    ram.put(GDT, struct.pack("<4Q", 0, CODE_64, CODE_32, DATA))
    ram.put(IDT + 16 * BP, bad)
    if unmapped:
        ram.unmap(unmapped)
    return died(ram, Fault(BP, None, None, CODE), Fault(GP, 0x1A, None, CODE))


INTERRUPT = 0x21


def wanted_a_gate(code: bytes) -> list[Finding]:
    """#PF at the gate of an interrupt, with this code at RIP: without any, its page is not mapped."""
    ram = Ram()
    ram.put(CODE, code)
    ram.unmap(IDT)
    if not code:
        ram.unmap(CODE)
    return died(ram, Fault(PF, 0, IDT + 16 * INTERRUPT, CODE))


def test_an_interrupt_that_comes_between_other_instructions_is_a_device_s() -> None:
    assert [found.rule for found in wanted_a_gate(b"\xf4\x90")] == ["missing-cli"]


def test_an_interrupt_is_no_device_s_where_an_int_stands_at_rip_or_may_stand() -> None:
    assert [found.rule for found in wanted_a_gate(bytes((0xCD, INTERRUPT)))] == ["idt-unmapped"]
    assert [found.rule for found in wanted_a_gate(b"")] == ["idt-unmapped"]


@pytest.mark.parametrize("left", [0, 0x7003], ids=["empty", "another entry"])
def test_a_top_table_without_an_entry_is_said_to_be_none(left: int) -> None:
    """As where a kernel takes its tables to lie where it was linked for, and nobody has written there."""
    ram = Ram()
    ram.put(ROOT, bytes(8) + struct.pack("<Q", left))
    [found] = died(ram, Fault(PF, 0x10, CODE, CODE))
    assert (found.rule, found.entry and (found.entry.level, found.entry.index)) == ("code-unmapped", (4, 0))
    assert any("no entry at all of the table at 0x1000 is present" in line for line in proof(found)) is (left == 0)


def test_what_is_not_canonical_is_a_fact() -> None:
    astray = 0x8000_0000_0000
    [found] = died(Ram(), Fault(GP, 0, None, astray))
    assert facts(found) == {"rip": f"{astray:#x}", "lowest_bit": 47}


def test_code_behind_a_switch_that_is_not_mapped_any_more_is_the_trampoline() -> None:
    """Without a trace: what stands before RIP in memory tells it."""
    ram = Ram()
    ram.put(CODE, bytes.fromhex("0f22d8"))
    ram.unmap(CODE)
    fetch = 0x10
    assert [found.rule for found in died(ram, Fault(PF, fetch, CODE + 3, CODE + 3))] == ["identity-missing-trampoline"]


SMEP, SMAP = 1 << 20, 1 << 21


@pytest.mark.parametrize(("smep", "user", "rules"), [(SMEP, 4, []), (0, 4, ["smep-smap-user-bit"]), (SMEP, 0, ["smep-smap-user-bit"])])
def test_no_entry_is_to_blame_where_qemu_pops_ring_3s_frame_as_the_supervisor(smep: int, user: int, rules: list[str]) -> None:
    """Xen's guests return so in ring 3; they were told to make their pages the supervisor's. Where SMEP is off, or the code's page is
    none of a user's, the kernel itself may have run there."""
    ram = Ram()
    for table, below in ((ROOT, PDPT), (PDPT, PD), (PD, PT)):
        ram.put(table, (below | 7).to_bytes(8, "little"))
    ram.put(CODE, bytes.fromhex("48cf"))  # iretq
    ram.map(CODE, CODE & -0x1000 | 3 | user)
    ram.map(STACK, STACK | 7)
    found = died(ram, Fault(PF, 1, STACK + 0x800, CODE), CR4=0x20 | SMAP | smep)
    assert [one.rule for one in found] == rules
