"""A capture that is a file."""

from __future__ import annotations

from pathlib import Path

from cr3scope import limits
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Capture
from cr3scope.input.first_bytes import first_bytes


def read_capture_file(path: Path) -> Capture:
    """Return the capture in a file; UnusableInput if it cannot be read."""
    return read_capture(first_bytes(path, limits.CAPTURE_BYTES + 1), str(path))
