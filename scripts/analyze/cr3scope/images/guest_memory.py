"""What it takes to look for loaded images: the memory of a guest that stands still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class GuestRam(Protocol):
    """Where RAM is, and short looks at it."""

    def ram(self) -> Iterable[tuple[int, int]]:
        """Return the first and last physical address (inclusive) of each range of RAM."""

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield ``length`` bytes at each of many physical addresses, in their order; less where there are none.
        """


class GuestMemory(GuestRam, Protocol):
    """Addresses without a mapping or without memory cost no exception: less is returned, or nothing."""

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many of the bytes of physical memory as can be read."""

    def bytes_at(self, virt: int, length: int) -> bytes:
        """Return as many of the bytes as the live tables map."""
