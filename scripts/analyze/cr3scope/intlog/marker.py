"""The line that stands in a shortened log where bytes were left out."""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\[cr3scope: (\d{1,19}) records, (\d{1,19}) bytes left out here\]")


def left_out(records: int, size: int) -> bytes:
    """The marker line, with its line end."""
    return b"[cr3scope: %d records, %d bytes left out here]\n" % (records, size)


def read_left_out(data: bytes) -> tuple[int, int]:
    """How many records and bytes all markers in ``data`` say were left out."""
    found = [(int(match[1]), int(match[2])) for match in _MARKER.finditer(data)]
    return sum(records for records, _ in found), sum(size for _, size in found)
