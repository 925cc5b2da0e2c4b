"""Which addresses exist at all."""

from __future__ import annotations

from cr3scope.x86.cpu_state import CR4_LA57
from cr3scope.x86.entry import level_shift
from cr3scope.x86.word import FOUR_GIB, MASK64

MOST_LEVELS, LEVELS = 5, 4  # of tables: an address that is not canonical with five is so with four, too


def levels_of(cr4: int | None) -> int:
    """Return how deep the tables of long mode are; the most where CR4 is not known."""
    return MOST_LEVELS if cr4 is None or cr4 & CR4_LA57 else LEVELS


def next_canonical(virt: int, levels: int) -> int:
    """Return the first canonical address from ``virt`` on, which is at most 64 bits wide, by four or five levels."""
    upper = MASK64 - (1 << (level_shift(levels) + 8)) + 1
    return virt if is_canonical(virt, levels) else upper


def canonical(virt: int, levels: int) -> int:
    """Return the canonical form of an address of which the bits that so many levels translate are given.

    With fewer than four levels addresses have 32 bits, and stay as they are.
    """
    if levels < LEVELS:
        return virt
    top = 1 << (level_shift(levels) + 8)
    return (virt & (2 * top - 1) ^ top) - top & MASK64


def is_canonical(virt: int, levels: int) -> bool:
    """Return whether bits 63:47, with five levels 63:56, are all equal (SDM volume 1, 3.3.7.1).

    With fewer levels: whether the address has 32 bits.
    """
    if levels < LEVELS:
        return virt < FOUR_GIB
    top = virt >> (level_shift(levels) + 8)
    return top == 0 or top == MASK64 >> (level_shift(levels) + 8)
