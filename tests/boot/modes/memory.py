"""The memory of the guest of the modes of paging, as it is before each case: tables, and a background that tells where it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MIB, GIB = 1 << 20, 1 << 30
PAGE = 0x1000
TABLES, TABLES_END = 2 * MIB, 4 * MIB
BACKGROUND, BACKGROUND_END, LOW_END = 8 * MIB, 32 * MIB, 64 * MIB  # the end of the RAM below 4 GiB
HIGH, HIGH_FILLED, HIGH_END = 4 * GIB, 4 * GIB + MIB, 4 * GIB + 64 * MIB
UNIT = 16
_UNIT = np.dtype({"names": ["mov_eax", "where", "int_back"], "formats": ["u1", "<u4", "<u2"], "offsets": [0, 1, 5], "itemsize": UNIT})
_MOV_EAX, _INT_BACK = 0xB8, 0x80CD
_IS_HIGH = 1  # a unit's address is a multiple of 16


class UnknownMemory(Exception):
    """Nobody knows what lies there: the firmware's, or the guest's own."""


def told_by(phys: int) -> int | None:
    """What a read of the address, or code there, leaves in EAX; None where there is no background."""
    unit = phys & -UNIT
    if BACKGROUND <= phys < BACKGROUND_END:
        return unit
    return unit - HIGH | _IS_HIGH if HIGH <= phys < HIGH_FILLED else None


def background(first: int, end: int) -> bytes:
    """The bytes of these addresses: in each unit `mov eax, where; int BACK`, so that data and code tell the same."""
    units = np.zeros((end - first) // UNIT, dtype=_UNIT)
    units["mov_eax"], units["int_back"] = _MOV_EAX, _INT_BACK
    units["where"] = np.arange(len(units), dtype=np.uint32) * UNIT + (told_by(first) or 0)
    return units.tobytes()


@dataclass
class Image:
    """Table pages by address; the next free one. The walk of the package reads it as it would read a machine's memory."""

    pages: dict[int, npt.NDArray[np.uint64]] = field(default_factory=dict)
    free: int = TABLES
    has_high: bool = True  # RAM above 4 GiB
    changed: tuple[int, int] | None = None  # an address of 8 bytes, and what is flipped there

    def new_table(self) -> int:
        phys, self.free = self.free, self.free + PAGE
        assert self.free <= TABLES_END
        self.pages[phys] = np.zeros(512, dtype=np.uint64)
        return phys

    def put(self, phys: int, value: int, width: int) -> None:
        words = self.pages[phys & -PAGE].view(f"<u{width}")
        words[phys % PAGE // width] = value

    def table(self, phys: int) -> npt.NDArray[np.uint64] | None:
        """The page as the guest leaves it for the access, None where no memory is."""
        if phys >= HIGH and not self.has_high:
            return None
        if TABLES <= phys < TABLES_END:
            page = self.pages.get(phys, np.zeros(512, dtype=np.uint64))
        elif BACKGROUND <= phys < BACKGROUND_END or HIGH <= phys < HIGH_FILLED:
            page = np.frombuffer(background(phys, phys + PAGE), dtype="<u8").astype(np.uint64)
        elif BACKGROUND_END <= phys < LOW_END or HIGH_FILLED <= phys < HIGH_END:
            page = np.zeros(512, dtype=np.uint64)
        elif phys < BACKGROUND:
            raise UnknownMemory
        else:
            return None
        if self.changed is not None and self.changed[0] & -PAGE == phys:
            page = page.copy()
            at, flipped = self.changed
            view = page.view(np.uint8)
            there = view[at % PAGE : at % PAGE + 8]
            there ^= np.frombuffer(flipped.to_bytes(8, "little")[: len(there)], dtype=np.uint8)
        return page

    def file(self) -> bytes:
        """All tables, to be loaded at TABLES."""
        empty = bytes(PAGE)
        pages = (self.pages[phys].tobytes() if phys in self.pages else empty for phys in range(TABLES, TABLES_END, PAGE))
        return b"".join(pages)
