"""A CPU that stands, with tables that are mended in the model only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.paging.tables import Entries
from cr3scope.target import memory as memories
from cr3scope.target.memory import Memory
from cr3scope.target.overlay import Overlay
from cr3scope.target.stopped_cpu import StoppedCpu


@dataclass(frozen=True, slots=True)
class MendedMemory:
    """The tables of ``overlay``, and all other bytes of ``base``."""

    base: Memory
    overlay: Overlay

    def table(self, phys: int) -> Entries | None:
        """Return the entries as mended so far."""
        return self.overlay.table(phys)

    def physical(self, phys: int, length: int) -> bytes:
        """Return the bytes as they are."""
        return self.base.physical(phys, length)

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield the bytes as they are."""
        return memories.heads(self.base, places, length)


@dataclass(frozen=True, slots=True)
class MendedCpu:
    """Another view of a CPU: what ``overlay`` changes nobody else sees."""

    now: StoppedCpu
    overlay: Overlay


def mended_cpu(now: StoppedCpu) -> MendedCpu:
    """Return a view in which nothing is mended yet."""
    overlay = Overlay(now, now.phys_bits)
    return MendedCpu(replace(now, memory=MendedMemory(now.memory, overlay)), overlay)
