"""A guest without a trace that died: two MiB of memory, mapped one to one, and a CPU."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np

from cr3scope.paging.tables import Entries
from cr3scope.target.stopped_cpu import StoppedCpu, Table

PAGE, SIZE = 0x1000, 0x20_0000
ROOT, PDPT, PD, PT = 0x1000, 0x2000, 0x3000, 0x4000
IDT, GDT, CODE, STACK = 0x10000, 0x11000, 0x13100, 0x15000
PRESENT_WRITABLE = 3


@cache
def _mapped() -> bytes:
    data = bytearray(SIZE)
    for table, below in ((ROOT, PDPT), (PDPT, PD), (PD, PT)):
        struct.pack_into("<Q", data, table, below | PRESENT_WRITABLE)
    for at in range(0, SIZE, PAGE):
        struct.pack_into("<Q", data, PT + 8 * (at // PAGE), at | PRESENT_WRITABLE)
    return bytes(data)


class Ram:
    """Two MiB, which the tables in it map one to one, page by page."""

    def __init__(self) -> None:
        self.data = bytearray(_mapped())

    def put(self, phys: int, data: bytes) -> None:
        self.data[phys : phys + len(data)] = data

    def map(self, virt: int, value: int) -> None:
        self.put(PT + 8 * (virt // PAGE), struct.pack("<Q", value))

    def unmap(self, virt: int) -> None:
        self.map(virt, 0)

    def table(self, phys: int) -> Entries | None:
        return np.frombuffer(self.physical(phys, PAGE), dtype=np.uint64) if phys + PAGE <= SIZE else None

    def physical(self, phys: int, length: int) -> bytes:
        return bytes(self.data[phys : phys + length])


def guest(ram: Ram, **registers: int) -> StoppedCpu:
    known = {"CR0": 0x80010011, "CR3": ROOT, "CR4": 0x20, "EFER": 0xD00, "RIP": CODE, "RSP": STACK + 0x800, **registers}
    return StoppedCpu(ram, known, idt=Table(IDT, 16 * 256 - 1), gdt=Table(GDT, 0x1F))
