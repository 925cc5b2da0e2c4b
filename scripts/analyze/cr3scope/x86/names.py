"""How page-table entries and ranges are called in text."""

from __future__ import annotations

from cr3scope.x86 import entry as entries
from cr3scope.x86.access import EntryRef


def entry_name(entry: EntryRef) -> str:
    """Return the name of an entry, as ``PML4[511]``."""
    return entries.entry_name(entry.level, entry.index)


def entry_words(entry: EntryRef) -> str:
    """Return an entry's name, place and value, as ``PML4[511] at 0x1000ff8 = 0x8000000001001023``."""
    return f"{entry_name(entry)} at {entry.phys:#x} = {value_words(entry)}"


def value_words(entry: EntryRef) -> str:
    """Return an entry's value in hex, with as many digits as it has."""
    return f"{entry.value:#0{2 + 2 * entry.form.entry_bytes}x}"


def covered(entry: EntryRef, virt: int) -> tuple[int, int]:
    """Return the inclusive range that the entry on the path of ``virt`` translates."""
    size = entry.form.page_bytes
    first = virt & -size
    return first, first + size - 1


def range_words(first: int, last: int) -> str:
    """Return an inclusive range in words, as ``0x1000..0x1fff``."""
    return f"{first:#x}..{last:#x}"
