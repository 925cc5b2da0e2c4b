"""Files that are read at any place, and more than once: plain ones alone. For a pipe one would wait, and have it once."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from cr3scope.errors import UnusableInput
from cr3scope.text import printable

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file; UnusableInput, without waiting for anybody, if it is something else or cannot be read."""
    try:
        refuse_other(path, os.stat(path).st_mode)
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except OSError as error:
        raise UnusableInput(f"{printable(str(path))}: {error.strerror}") from error


def refuse_other(path: Path, mode: int) -> None:
    """Raise UnusableInput unless a file of this mode is a plain one."""
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode))
        raise UnusableInput(f"{printable(str(path))}: {f'{kind}, not a file' if kind else os.strerror(errno.EISDIR)}")
