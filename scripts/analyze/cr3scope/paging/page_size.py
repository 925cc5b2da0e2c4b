"""Whether an entry that points to a table was meant to map a large page."""

from __future__ import annotations

from cr3scope.paging.entry import ADDRESS_MASK, LARGE, PRESENT, level_bytes
from cr3scope.paging.tables import Entries

_REACH = 3  # neighbours to each side
_ALIKE = 2  # so many of them agree
_LEVELS = (2, 3)  # PS exists there (SDM 3A, tables 5-17 and 5-18)


def lacks_page_size(table: Entries, level: int, index: int) -> bool:
    """A present entry without PS whose neighbours map what follows and precedes its frame in memory:
    they count in large pages, which tables never lie apart."""
    value = int(table[index])
    if level not in _LEVELS or not value & PRESENT or value & LARGE:
        return False
    span = level_bytes(level)
    alike = 0
    for other in range(max(index - _REACH, 0), min(index + _REACH + 1, len(table))):
        near = int(table[other])
        expected = (value & ADDRESS_MASK) + (other - index) * span
        alike += other != index and bool(near & PRESENT) and near & ADDRESS_MASK & -span == expected
    return alike >= _ALIKE
