"""The line that stands in a shortened log where bytes were left out. It ends a torn record."""

from __future__ import annotations

MARKER = b"[cr3scope: "


def left_out(records: int, size: int) -> bytes:
    """Return the marker line, with its line end."""
    return MARKER + b"%d records, %d bytes left out here]\n" % (records, size)
