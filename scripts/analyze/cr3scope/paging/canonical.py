"""Which addresses exist at all."""

from __future__ import annotations

from cr3scope.x86.entry import level_shift
from cr3scope.x86.word import MASK64

MOST_LEVELS = 5  # of tables: an address that is not canonical with them is so with fewer, too


def is_canonical(virt: int, levels: int) -> bool:
    """Return whether bits 63:47, with five levels 63:56, are all equal (SDM volume 1, 3.3.7.1)."""
    top = virt >> (level_shift(levels) + 8)
    return top == 0 or top == MASK64 >> (level_shift(levels) + 8)
