"""How a file begins, and what is known by that alone."""

from __future__ import annotations

from pathlib import Path

from cr3scope.elf.head import MAGIC
from cr3scope.errors import UnusableInput
from cr3scope.text import printable


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first ``count`` bytes of a file; UnusableInput if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise UnusableInput(f"{printable(str(path))}: {error.strerror}") from error


def is_plain(path: Path) -> bool:
    """Return whether a path leads to a plain file, which no look uses up; UnusableInput if that cannot be told."""
    try:
        return path.is_file()
    except OSError as error:
        raise UnusableInput(f"{printable(str(path))}: {error.strerror}") from error


def is_elf(path: Path) -> bool:
    """Return whether a path leads to a plain file in ELF; UnusableInput if it cannot be read."""
    return is_plain(path) and first_bytes(path, len(MAGIC)) == MAGIC
