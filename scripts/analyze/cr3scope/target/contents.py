"""Bytes of physical memory that a capture holds: descriptor tables and code, by physical address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cr3scope.x86.entry import PAGE_BYTES

if TYPE_CHECKING:  # numpy's columns: a gdb whose Python has none has no boot either
    from cr3scope.input.capture.records import Boot


class PhysicalBytes(Protocol):
    """Memory contents that may or may not be known."""

    @property
    def is_recorded(self) -> bool:
        """Return whether these are bytes that somebody recorded, and not a machine's memory."""

    def read(self, phys: int, count: int) -> bytes | None:
        """Return ``count`` bytes at ``phys``; None if any of them is not known."""


class RecordedBytes:
    """The ``memory`` records of a boot.

    The loader read them through the tables that were live *then*: ``frame_of`` says where those
    led. Without it they are taken as identity, as UEFI 2.10, section 2.3.4 wants them.
    """

    is_recorded = True

    def __init__(self, boot: Boot, frame_of: Callable[[int], int | None]) -> None:
        self._chunks: list[tuple[int, bytes]] = []
        # What was planned for the handoff stands before what was seen at entry.
        by_age = sorted(boot.memories.values(), key=lambda memory: memory.when != "handoff")
        for memory in by_age:
            frame = frame_of(memory.virt)
            offset = memory.virt % PAGE_BYTES
            phys = memory.virt if frame is None else frame + offset
            self._chunks.append((phys, memory.data))

    def read(self, phys: int, count: int) -> bytes | None:
        for first, data in self._chunks:
            if first <= phys and phys + count <= first + len(data):
                return data[phys - first : phys - first + count]
        return None
