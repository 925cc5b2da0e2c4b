"""The memory around a CPU that stands: whoever can show it implements two methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from cr3scope.paging.tables import Entries


class MemoryUnavailable(Exception):
    """Whoever holds the memory does not answer any more."""


class Memory(Protocol):
    """Physical memory. Both methods raise MemoryUnavailable if nobody answers."""

    def table(self, phys: int) -> Entries | None:
        """Return the 512 entries of the page at ``phys``; None where there is no memory."""

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many of the ``length`` bytes from ``phys`` on as can be read."""


def heads(memory: Memory, places: Iterable[int], length: int) -> Iterator[bytes]:
    """Yield the first ``length`` bytes at each of many physical addresses, in their order; fewer where there are none.

    A memory that has a quicker way to many places has a method of this name.
    """
    quicker = getattr(memory, "heads", None)
    if quicker is not None:
        yield from quicker(places, length)
    else:
        yield from (memory.physical(at, length) for at in places)
