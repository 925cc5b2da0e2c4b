"""Bytes of physical memory that a capture holds: descriptor tables and code, by physical address."""

from __future__ import annotations

from typing import Protocol

from cr3scope.capture.records import Boot
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.walk import Tables, Translation, access


class PhysicalBytes(Protocol):
    """Memory contents that may or may not be known."""

    def read(self, phys: int, count: int) -> bytes | None:
        """``count`` bytes at ``phys``; None if any of them is not known."""


class RecordedBytes:
    """The ``memory`` records of a boot.

    The loader read them through the tables that were live *then*, so a virtual address of a record
    is turned into a physical one by the old dump (identity, where there is none: UEFI 2.10, 2.3.4).
    """

    def __init__(self, boot: Boot, old: Tables | None, old_cpu: CpuState | None) -> None:
        self._chunks: list[tuple[int, bytes]] = []
        for (_, when), memory in boot.memories.items():
            if when == "entry" and (memory.name, "handoff") in boot.memories:
                continue
            phys = memory.virt
            if old is not None and old_cpu is not None and memory.data:
                step = access(old, old_cpu, memory.virt, AccessKind_READ, implicit=True)
                if isinstance(step, Translation):
                    phys = step.phys
            self._chunks.append((phys, memory.data))

    def read(self, phys: int, count: int) -> bytes | None:
        for first, data in self._chunks:
            if first <= phys and phys + count <= first + len(data):
                return data[phys - first : phys - first + count]
        return None
