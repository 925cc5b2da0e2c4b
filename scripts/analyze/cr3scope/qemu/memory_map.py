"""Where a guest has RAM, from the words of QEMU's monitor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cr3scope import limits
from cr3scope.qemu.qmp import QmpError
from cr3scope.x86.entry import ADDRESS_MASK, PAGE_OFFSET

_COMMAND = "info mtree -f"
_RAM = re.compile(r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d{1,20}, ram\)", re.MULTILINE)


def asked(monitor: Callable[[str], str]) -> Iterable[tuple[int, int]]:
    """Return first and last physical address (inclusive) of each range of RAM, as the monitor tells them."""
    return ram_ranges(monitor(_COMMAND))


def ram_ranges(listed: str) -> tuple[tuple[int, int], ...]:
    """Return first and last physical address (inclusive) of each range of RAM in the monitor's list, in order.

    QmpError if no machine has memory there.
    """
    known: set[tuple[int, int]] = set()  # each address space of the machine lists them again
    for match in _RAM.finditer(listed):
        first, last = int(match[1], 16), int(match[2], 16)
        if last < first or last > ADDRESS_MASK | PAGE_OFFSET:
            raise QmpError(f"{_COMMAND}: no machine has RAM at {match[1]}-{match[2]}")
        known.add((first, last))
        if len(known) > limits.MONITOR_RAM_RANGES:
            raise QmpError(f"{_COMMAND}: more than {limits.MONITOR_RAM_RANGES} ranges of RAM")
    return tuple(sorted(known))
