"""Memory as code that is only looked at will find it: what it has written on the way hides what was there."""

from __future__ import annotations

from collections.abc import Callable

# (virtual address, count): fewer bytes at the end of what is mapped, None for none.
Read = Callable[[int, int], bytes | None]


class ExpectedMemory:
    """Reads code through ``read`` and data through ``data``, but for what was stored."""

    def __init__(self, read: Read, data: Read | None = None) -> None:
        self.read = read  # as it is before the first instruction
        self.data = data or read
        self._written: list[tuple[int, int, int | None]] = []  # address, bytes, value; the last one counts
        self._first, self._end = 0, 0  # all of them lie between

    def store(self, at: int, width: int, value: int | None) -> None:
        """Remember that the code stores ``width`` bytes at ``at``; ``value`` is None if it is not known."""
        self._first, self._end = (min(self._first, at), max(self._end, at + width)) if self._written else (at, at + width)
        self._written.append((at, width, value))

    def load(self, at: int, width: int) -> int | None:
        """Return the number that ``width`` bytes at ``at`` hold; None if it is not known, or nothing is mapped.
        """
        for place, count, value in reversed(self._written) if self._may_be_written(at, width) else ():
            if place <= at and at + width <= place + count:
                return None if value is None else value >> 8 * (at - place) & (1 << 8 * width) - 1
            if place < at + width and at < place + count:
                return None
        data = self.data(at, width)
        return int.from_bytes(data, "little") if data and len(data) == width else None

    def is_written(self, at: int, width: int) -> bool:
        """Return whether the code stored to any of these bytes."""
        return self._may_be_written(at, width) and any(place < at + width and at < place + count for place, count, _ in self._written)

    def _may_be_written(self, at: int, width: int) -> bool:
        return self._first < at + width and at < self._end
