"""How page-table entries are called in text, and what they cover."""

from __future__ import annotations

from cr3scope.verdict import EntryRef

LEVEL_NAMES = {5: "PML5", 4: "PML4", 3: "PDPT", 2: "PD", 1: "PT"}


def entry_name(entry: EntryRef) -> str:
    """``PML4[511]``."""
    return f"{LEVEL_NAMES.get(entry.level, f'level {entry.level}')}[{entry.index}]"


def entry_words(entry: EntryRef) -> str:
    """``PML4[511] at 0x1000ff8 = 0x8000000001001023``."""
    return f"{entry_name(entry)} at {entry.phys:#x} = {entry.value:#018x}"


def level_bytes(level: int) -> int:
    """Bytes that one entry of a level covers."""
    return 1 << (12 + 9 * (level - 1))


def level_index(virt: int, level: int) -> int:
    """Index of the entry of a level that translates ``virt``."""
    return virt >> (12 + 9 * (level - 1)) & 511


def covered(entry: EntryRef, virt: int) -> tuple[int, int]:
    """The inclusive range that the entry on the path of ``virt`` translates."""
    size = level_bytes(entry.level)
    first = virt & ~(size - 1)
    return first, first + size - 1


def range_words(first: int, last: int) -> str:
    """``0x1000..0x1fff``."""
    return f"{first:#x}..{last:#x}"
