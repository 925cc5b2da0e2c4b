"""A page directory's entry that holds the virtual address of its page table."""

from __future__ import annotations

import struct
from dataclasses import replace

from analyze.dead_guest import CODE, PD, PT, SIZE, Ram, guest
from analyze.said import title

from cr3scope.diagnose.dead import page_fault_cause
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault

HIGH, PAGE_FAULT = 0xC000_0000, 14


def dead(held: int, frame: int = CODE & -4096) -> StoppedCpu:
    """A CPU in 32-bit paging; PD[768] holds ``held``, and the table at PT maps CODE above HIGH to ``frame``."""
    ram = Ram()
    ram.put(PD, bytes(4096))
    ram.put(PT, bytes(4096))
    ram.put(PD + 4 * (HIGH >> 22), struct.pack("<I", held | 3))
    ram.put(PT + 4 * (CODE >> 12), struct.pack("<I", frame | 3))
    now = guest(ram, CR0=0x80000011, CR3=PD, CR4=0, EFER=0)
    return replace(now, code_bits=32, ram_ranges=lambda: [(0, SIZE - 1)])


def told(now: StoppedCpu) -> list[str]:
    virt = HIGH + CODE
    return [title(one) for one in page_fault_cause(now, Fault(PAGE_FAULT, 0, virt, virt))]


def test_the_table_is_found_at_the_distance_by_which_it_maps() -> None:
    assert told(dead(HIGH + PT)) == [f"PD[768] holds the virtual address {HIGH + PT:#x}; the table lies at physical {PT:#x}"]


def test_where_no_such_table_lies_no_virtual_address_is_claimed() -> None:
    for now in (dead(HIGH + PT, frame=0x5000), dead(0x7F00_0000), replace(dead(HIGH + PT), ram_ranges=tuple)):
        assert len(told(now)) == 1 and "virtual" not in told(now)[0]
