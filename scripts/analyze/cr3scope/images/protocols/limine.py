"""What a kernel asks of a Limine loader: requests, the base revision, and the markers around them.

The Limine boot protocol, "Features", "Requests Delimiters", "Base protocol revisions".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from cr3scope import limits
from cr3scope.arrays import Data
from cr3scope.dataclass import dataclass

LOWEST = 0xFFFF_FFFF_8000_0000  # where a kernel may lie
ALIGNMENT = 8
_COMMON = struct.pack("<QQ", 0xC7B1_DD30_DF4C_8B88, 0x0A82_E883_A194_F07B)
_REVISION = struct.pack("<QQ", 0xF956_2B2D_5C95_A6C8, 0x6A7B_3849_4453_6BDC)
_START = struct.pack("<QQQQ", 0xF6B8_F4B3_9DE7_D1AE, 0xFAB9_1A69_40FC_B9CF, 0x785C_6ED0_15D3_E316, 0x181E_920A_7852_B9D9)
_END = struct.pack("<QQ", 0xADC0_E053_1BB1_0D03, 0x9572_709F_3176_4C62)
_ID = struct.Struct("<QQ")
ENTRY_POINT = (0x13D8_6C03_5A1C_D3E1, 0x2B0C_AA89_D8F3_026A)


@dataclass(frozen=True, slots=True)
class Request:
    """A request at an offset of the file; ``virt``: where it is loaded, None if it is not."""

    id: tuple[int, int]
    offset: int
    virt: int | None


@dataclass(frozen=True, slots=True)
class Limine:
    """All that a file asks. ``first`` and ``end``: addresses of the markers, None where there is none."""

    requests: tuple[Request, ...]
    first: int | None
    end: int | None
    has_revision: bool

    def is_seen(self, request: Request) -> bool:
        """Return whether the loader meets the request when it looks through what it loaded."""
        virt = request.virt
        if virt is None or virt % ALIGNMENT:
            return False
        return (self.first is None or self.first < virt) and (self.end is None or virt < self.end)

    @property
    def sets_entry(self) -> bool:
        """Return whether a request names the entry, so that the file's own does not count."""
        return any(one.id == ENTRY_POINT for one in self.requests)


def find_limine(data: Data, loads: Iterable[tuple[int, int, int]], descriptions: Iterable[tuple[int, int]] = ()) -> Limine | None:
    """Return what a file asks of Limine; None if it asks nothing.

    ``loads``: virtual address, offset and bytes of each segment; ``descriptions``: offset and bytes of what was never meant to be
    loaded, as debug information is, which tells of the values of constants.
    """
    places, described = tuple(loads), tuple(descriptions)
    found = []
    for at in _all(data, _COMMON):
        if any(first <= at < first + size for first, size in described):
            continue
        words = bytes(data[at + len(_COMMON) : at + len(_COMMON) + _ID.size])
        if len(words) == _ID.size:
            first, second = _ID.unpack(words)
            found.append(Request((first, second), at, _virt(places, at)))
    has_revision = data.find(_REVISION, 0, limits.LINT_SEARCH_BYTES) >= 0
    if not found and not has_revision:
        return None
    starts = [virt for at in _all(data, _START) if (virt := _virt(places, at)) is not None and not virt % ALIGNMENT]
    ends = [virt for at in _all(data, _END) if (virt := _virt(places, at)) is not None and not virt % ALIGNMENT]
    return Limine(tuple(found), max(starts, default=None), min(ends, default=None), has_revision)


def _all(data: Data, wanted: bytes) -> list[int]:
    found: list[int] = []
    at = data.find(wanted, 0, limits.LINT_SEARCH_BYTES)
    while at >= 0 and len(found) < limits.LINT_MAGICS:
        found.append(at)
        at = data.find(wanted, at + 1, limits.LINT_SEARCH_BYTES)
    return found


def _virt(places: Iterable[tuple[int, int, int]], offset: int) -> int | None:
    return next((virt + offset - at for virt, at, size in places if at <= offset < at + size), None)
