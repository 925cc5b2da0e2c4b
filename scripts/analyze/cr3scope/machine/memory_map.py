"""Where a guest has RAM, from the words of QEMU's monitor."""

from __future__ import annotations

import re
from collections.abc import Iterator

COMMAND = "info mtree -f"
_RAM = re.compile(r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\)", re.MULTILINE)


def ram_ranges(listed: str) -> Iterator[tuple[int, int]]:
    """First and last physical address (inclusive) of each range that :data:`COMMAND` lists."""
    known = {(int(m[1], 16), int(m[2], 16)) for m in _RAM.finditer(listed)}
    yield from sorted(known)  # each address space of the machine lists them again
