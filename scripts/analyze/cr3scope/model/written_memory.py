"""Memory that the code itself writes before it comes to use it: what lies there now tells nothing then."""

from __future__ import annotations

from cr3scope.model.follow.course import Step
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MASK64


class WrittenMemory:
    """Physical bytes that steps so far have written to, under the tables of ``cpu``."""

    def __init__(self, now: StoppedCpu, cpu: CpuState) -> None:
        self._now, self._cpu = now, cpu
        self._ranges: list[range] = []
        self._noted: set[tuple[int, int]] = set()  # address and width: code in a loop writes to the same place again and again
        self._entries: dict[int, list[range]] = {}  # where those that translate an address lie

    def note(self, step: Step) -> None:
        """Remember what a step writes, which goes through."""
        place = step.virt, step.extent or step.width
        if step.kind is AccessKind.WRITE and place not in self._noted:
            self._noted.add(place)
            self._ranges += self._phys(*place)

    def map(self, virt: int) -> bool:
        """Return whether the code wrote an entry that translates ``virt``."""
        if not self._ranges:
            return False
        if virt not in self._entries:
            path = walk(self._now, self._cpu, virt & MASK64, self._now.platform)
            self._entries[virt] = [range(entry.phys, entry.phys + entry.form.entry_bytes) for entry in path.entries]
        return any(map(self._reach, self._entries[virt]))

    def hold_descriptors(self, registers: Registers) -> bool:
        """Return whether the code wrote a byte of the IDT or the GDT."""
        if not self._ranges:
            return False
        tables = (registers.idt_base, registers.idt_limit), (registers.gdt_base, registers.gdt_limit)
        return any(self._reach(piece) for base, limit in tables for piece in self._phys(base, limit + 1))

    def _reach(self, piece: range) -> bool:
        return any(one.start < piece.stop and piece.start < one.stop for one in self._ranges)

    def _phys(self, virt: int, width: int) -> list[range]:
        """Where ``width`` bytes at ``virt`` lie, page by page; what is not mapped is left out."""
        pieces, end = [], virt + width
        while virt < end:
            size = min(end, (virt | PAGE_BYTES - 1) + 1) - virt
            phys = walk(self._now, self._cpu, virt & MASK64, self._now.platform).phys
            if phys is not None:
                pieces.append(range(phys, phys + size))
            virt += size
        return pieces
