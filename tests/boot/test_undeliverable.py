"""Events that cannot be delivered: what QEMU of this version then raises is what the model of it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from boot.guest import watch
from boot.platform_here import qemu_here
from boot.reference import make

from cr3scope.model.delivered import Entered, Raised
from cr3scope.model.delivery import Delivery
from cr3scope.paging.tables import Entries
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers

# As tests/boot/foreign/undeliverable.c has them.
GDT = (0, 0x00CF93000000FFFF, 0x00CF93000000FFFF, 0x00AF1B000000FFFF,
       0x00CF9B000000FFFF, 0x00AFFB000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF)  # fmt: skip
GATES = {  # selector, type
    "sound": (0x38, 0x8E00), "absent": (0x38, 0x0E00), "type": (0x38, 0x8B00), "null": (0, 0x8E00),
    "outside": (0x68, 0x8E00), "local": (0x3C, 0x8E00), "data": (0x08, 0x8E00),
    "code_absent": (0x18, 0x8E00), "code32": (0x20, 0x8E00), "ring3": (0x28, 0x8E00),
    "beyond": (0x38, 0x8E00),
}  # fmt: skip
EVENTS = {"exception": 6, "int": 0x40, "interrupt": 0x50}
DELIVERED = 0xFF
LINE = re.compile(r"refused (\w+) (\w+) ([0-9a-f]{4}) ([0-9a-f]{4})")
IDT_AT, GDT_AT, STACK, ROOT, PDPT = 0x1000, 0x3000, 0x5000, 0x6000, 0x7000


class FlatMemory:
    """One GiB mapped one to one, with the guest's GDT and one kind of gate for every vector."""

    is_recorded = False

    def __init__(self, selector: int, kind: int) -> None:
        gate = (selector << 16 | kind << 32).to_bytes(16, "little")
        gdt = b"".join(one.to_bytes(8, "little") for one in GDT)
        self._bytes = (gate * 256).rjust(IDT_AT + 4096, b"\0").ljust(GDT_AT, b"\0") + gdt

    def table(self, phys: int) -> Entries | None:
        """Return the table at `phys`: the PML4 or the PDPT."""
        entries = np.zeros(512, dtype=np.uint64)
        entries[0] = PDPT | 3 if phys == ROOT else 0x83
        return entries

    def read(self, phys: int, count: int) -> bytes | None:
        """Return `count` bytes from `phys` on."""
        return self._bytes[phys : phys + count]


def foreseen(gate: str, event: str, platform: Platform) -> tuple[int, int]:
    """Return the vector that comes instead of the event and its error code; DELIVERED and 0 for none."""
    memory = FlatMemory(*GATES[gate])
    limit = 16 * EVENTS["int"] - 1 if gate == "beyond" else 16 * 256 - 1
    registers = Registers(0, STACK, 0x38, 0, GDT_AT, 8 * len(GDT) - 1, IDT_AT, limit)
    delivery = Delivery(memory, CpuState(ROOT), memory, platform)
    came = delivery.deliver(EVENTS[event], registers, software=event == "int")
    if isinstance(came, Entered):
        return DELIVERED, 0
    assert isinstance(came, Raised)
    return came.vector, came.error_code


def test_what_comes_instead_of_an_undeliverable_event_is_foreseen_for_this_qemu(tmp_path: Path) -> None:
    run = watch(tmp_path, make("foreign/undeliverable.efi"), 40)
    told = LINE.findall(run.serial.decode(errors="replace"))
    assert len(told) == len(GATES) * len(EVENTS), run.explain()
    came = {(gate, event): (int(vector, 16), int(error, 16)) for gate, event, vector, error in told}
    platform = qemu_here()
    assert came == {(gate, event): foreseen(gate, event, platform) for gate in GATES for event in EVENTS}
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
