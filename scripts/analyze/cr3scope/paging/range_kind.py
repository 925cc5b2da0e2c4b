"""What mapped ranges can have in common: rights, the level and size of their pages, memory type; packed into a number, and told."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from cr3scope.x86 import entry as bits
from cr3scope.x86.cpu_state import DEPTHS, CpuState, PagingMode

# Rights as bits of a number, W and U where the entry has them: AND over the levels (SDM 3A, 5.6.1).
WRITE, USER, EXECUTE = bits.WRITABLE, bits.USER, 1
ALL_RIGHTS = WRITE | USER | EXECUTE
LEVEL_SHIFT, PAT_SHIFT = 3, 6  # where the level of the leaf and its index in the PAT stand above them

MOST_REPORTED = 64  # entries that are missing, or have a reserved bit

# SDM 3A, table 13-10: encodings of the PAT's fields.
MEMORY_TYPES = {0: "uc", 1: "wc", 4: "wt", 5: "wp", 6: "wb", 7: "uc-"}


class Kind(NamedTuple):
    """What ranges of equal attributes have in common."""

    rights: str
    level: int
    memory_type: str
    page_bytes: int


@cache
def kind_of(attributes: int, pat: int, page_bytes: tuple[int, ...]) -> Kind:
    """Return what the packed number means, by the PAT and what a leaf of each level maps."""
    types, level = memory_types(pat), attributes >> LEVEL_SHIFT & 7
    return Kind(rights_text(attributes), level, types[attributes >> PAT_SHIFT & 7], page_bytes[level])


@cache
def memory_types(pat: int) -> tuple[str, ...]:
    """Return the names of the eight types that a leaf can select."""
    fields = (pat >> 8 * index & 0xFF for index in range(8))
    return tuple(MEMORY_TYPES.get(value, f"reserved-{value:x}") for value in fields)


def rights_text(attributes: int) -> str:
    """Return ``rwxu`` with ``-`` for what is denied."""
    return _RIGHTS_TEXTS[attributes & ALL_RIGHTS]


def _letters(rights: int) -> str:
    letters = ((1, "r"), (rights & WRITE, "w"), (rights & EXECUTE, "x"), (rights & USER, "u"))
    return "".join(letter if granted else "-" for granted, letter in letters)


_RIGHTS_TEXTS = tuple(_letters(rights) for rights in range(ALL_RIGHTS + 1))


@cache
def page_sizes(mode: PagingMode) -> tuple[int, ...]:
    """Return how many bytes an entry of each level covers, by the number of the level; 0 for what is no level."""
    formats = bits.formats_of(CpuState(0).with_depth(DEPTHS[mode]))
    return 0, *(form.page_bytes for form in reversed(formats)), *(0,) * (bits.MOST_LEVELS - len(formats))
