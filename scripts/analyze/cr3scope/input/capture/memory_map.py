"""The firmware's memory map, which arrives in pieces (docs/trace-format.md, ``mmap``)."""

from __future__ import annotations

from cr3scope.input.capture.fields import Fields, Malformed, number
from cr3scope.input.capture.records import Boot, MemoryDescriptor
from cr3scope.x86.entry import PAGE_SHIFT

_MOST_DESCRIPTORS = 1 << 16
_TOP = 1 << 64


class MemoryMap:
    """Puts the map of one boot together; a piece with index 0 starts a new one."""

    def __init__(self) -> None:
        self._seen = 0
        self._total: int | None = None

    def add(self, fields: Fields, boot: Boot) -> None:
        """Take one ``mmap`` record."""
        index, total = fields.number("index"), fields.number("total", _MOST_DESCRIPTORS)
        fields.number("size")
        unfinished = self.missing() if index == 0 else None
        if index == 0:
            self._seen = 0
            self._total = total
            boot.memory_map.clear()
        if index != self._seen or total != self._total:
            raise Malformed(f"descriptor {index:#x} of {total:#x} where {self._seen:#x} was due")
        following: int | None = None
        attributes: int | None = None
        for item in fields.items("d"):
            parts = item.split(":")
            if len(parts) != 4:
                raise Malformed(f"descriptor {self._seen:#x} has {len(parts)} parts, not 4")
            start = number(parts[0], "d") if parts[0] else following
            pages, type_ = number(parts[1], "d"), number(parts[2], "d")
            attributes = number(parts[3], "d") if parts[3] else attributes
            if start is None or attributes is None:
                raise Malformed("the first descriptor of a record is not complete")
            following = start + pages
            if pages:
                # Cut to 64 bits: a map that makes no sense is no damage of the capture.
                first = min(start << PAGE_SHIFT, _TOP - 1)
                last = min(following << PAGE_SHIFT, _TOP) - 1
                boot.memory_map.append(MemoryDescriptor(first, last, type_, attributes))
            self._seen += 1
        if self._seen > total:
            raise Malformed(f"more than the {total:#x} descriptors promised")
        if unfinished is not None:
            raise Malformed(f"{unfinished}, and another map starts")

    def missing(self) -> str | None:
        """Return in words what lacks at the end; None if nothing does."""
        if self._total is None or self._seen == self._total:
            return None
        return f"the memory map has {self._seen} of {self._total} descriptors"
