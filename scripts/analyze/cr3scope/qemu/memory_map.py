"""Where a guest has RAM, from the words of QEMU's monitor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

_COMMAND = "info mtree -f"
_RAM = re.compile(r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\)", re.MULTILINE)


def asked(monitor: Callable[[str], str]) -> Iterable[tuple[int, int]]:
    """Return first and last physical address (inclusive) of each range of RAM, as the monitor tells them."""
    return ram_ranges(monitor(_COMMAND))


def ram_ranges(listed: str) -> Iterator[tuple[int, int]]:
    """Yield first and last physical address (inclusive) of each range of RAM in the monitor's list."""
    known = {(int(m[1], 16), int(m[2], 16)) for m in _RAM.finditer(listed)}
    yield from sorted(known)  # each address space of the machine lists them again
