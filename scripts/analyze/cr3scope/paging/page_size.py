"""Entries that point to tables and were meant to map large pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cr3scope.paging.tables import Entries
from cr3scope.x86.entry import ADDRESS_MASK, LARGE, PRESENT, EntryFormat

if TYPE_CHECKING:
    import numpy.typing as npt

_REACH = 3  # neighbours to each side
_ALIKE = 2  # so many of them agree


def lacking_page_size(tables: Entries, form: EntryFormat) -> npt.NDArray[np.bool_]:
    """Return for each entry whether it was meant to map a large page and lacks PS; the last axis is one table's
    entries.

    Such an entry is present without PS, while its neighbours map what precedes and follows its frame: they
    count in large pages, and no tables lie so far apart.
    """
    found = np.zeros(tables.shape, dtype=np.bool_)
    if not form.takes_ps:
        return found
    span = form.page_bytes
    frames = (tables & np.uint64(ADDRESS_MASK & -span)).astype(np.int64)
    present = tables & np.uint64(PRESENT) != 0
    pointers = present & (tables & np.uint64(LARGE) == 0)
    whole = pointers & (tables & np.uint64(ADDRESS_MASK) == frames.astype(np.uint64))
    alike = np.zeros(tables.shape, dtype=np.int64)
    for distance in range(1, _REACH + 1):
        near, far = frames[..., :-distance], frames[..., distance:]
        fits = (far - near == distance * span) & present[..., :-distance] & present[..., distance:]
        alike[..., :-distance] += fits
        alike[..., distance:] += fits
    found |= whole & (alike >= _ALIKE)
    return found


def lacks_page_size(table: Entries, form: EntryFormat, index: int) -> bool:
    """Return whether one entry of a table was meant to map a large page and lacks PS."""
    value = int(table[index])
    if not form.takes_ps or value & (PRESENT | LARGE) != PRESENT or value & ADDRESS_MASK & form.page_bytes - 1:
        return False  # as most, which need no look at their neighbours
    start = max(index - _REACH, 0)
    return bool(lacking_page_size(table[start : index + _REACH + 1], form)[index - start])
