"""The text of a source line, from the file that the debug information names, where it can be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cr3scope import limits
from cr3scope.dataclass import dataclass

MOST_COLUMNS = 100
_TAB = 4
_roots: tuple[Path, ...] | None = None  # None: no bounds


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line as the debug information names it: ``name`` is relative to ``compiled_in``, unless absolute."""

    name: str
    number: int
    compiled_in: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Return where the file may be: where it was compiled, else at the same place below the working directory.

        A relative name that leads out of where it was compiled leads nowhere from the working directory.
        """
        if os.path.isabs(self.name):
            return (Path(self.name),)
        found = [Path(self.compiled_in, self.name)] if os.path.isabs(self.compiled_in) else []
        if os.path.normpath(self.name).split(os.sep)[0] != os.pardir:
            found.append(Path(self.name))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class SourceText:
    """The text of line ``number`` of ``name``, made safe to print. ``is_newer``: that file was changed after
    ``built``, the file with the debug information, was made."""

    name: str
    number: int
    text: str
    is_newer: bool = False
    built: str = ""


def keep_below(roots: Sequence[Path]) -> None:
    """Let this process read lines of files below ``roots`` alone: debug information may name any file, and be an enemy's."""
    global _roots
    _roots = tuple(root.resolve() for root in roots)


def source_text(line: SourceLine, built: Path) -> SourceText | None:
    """Return the text; None if no file can be read, or has such a line with anything on it."""
    for path in line.files:
        text = line_of_file(path, line.number) if _may_be_read(path) else None
        if text:
            return SourceText(line.name, line.number, text, _changed(path) > _changed(built), str(built))
    return None


def line_of_file(path: Path, number: int) -> str | None:
    """Return line ``number`` (from 1), trimmed and at most ``MOST_COLUMNS`` wide.

    None if the file has no such line, is no plain file or no text.
    """
    try:
        about = path.stat()
        if number < 1 or not stat.S_ISREG(about.st_mode) or about.st_size > limits.SOURCE_BYTES:
            return None
        with path.open("rb") as file:
            lines = list(islice(file, number))  # no more than the file has, whatever number is asked for
    except (OSError, ValueError):  # a name with a null byte, for one
        return None
    if len(lines) < number or any(b"\0" in line for line in lines):
        return None
    return cut(_plain(lines[-1][:limits.SOURCE_LINE_BYTES].decode("utf-8", "replace")), MOST_COLUMNS)


def _may_be_read(path: Path) -> bool:
    if _roots is None:
        return True
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):  # a null byte, a loop of links
        return False
    return any(real.is_relative_to(root) for root in _roots)


def cut(text: str, columns: int) -> str:
    """Return the beginning of ``text`` that is so wide, with ``..`` where it is cut."""
    import unicodedata  # a megabyte of tables, for the rare line that is too long

    wide = [2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text]
    if sum(wide) <= columns:
        return text
    count = width = 0
    while width + wide[count] <= columns - len(".."):
        width += wide[count]
        count += 1
    return f"{text[:count]}.."


def _plain(text: str) -> str:
    """Without what could steer a terminal, and without margins."""
    return "".join(c for c in text.expandtabs(_TAB) if c.isprintable()).strip()


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")
