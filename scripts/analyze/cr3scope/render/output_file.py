"""Files that are written: whole ones beside their place, and growing ones new in theirs. No link is followed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

STDOUT = "-"  # where a file is named: standard output, for whoever has one
_MODE = 0o666  # the umask takes from it
_STREAMS = ("/dev", "/dev/fd", "/proc/self/fd")  # what lies there is a way to somewhere, not a file


def open_new(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a new, empty file to write in the place of whatever is there. OSError if that cannot be.

    A link, a pipe or a file of that name is removed, and what a link leads to stays as it is. A device is opened.
    """
    if _is_device(path):
        return open(path, "wb", buffering=buffering)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return open(path, "wb", buffering=buffering, opener=lambda name, _: os.open(name, _flags(os.O_EXCL), _MODE))


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file in one go: it is there with all of its content, or as it was before. OSError if it cannot be.

    A link or a pipe of that name is replaced. A device is written to.
    """
    if _is_device(path):
        with path.open("wb") as out:
            out.writelines(pieces)
        return
    beside = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}")
    try:
        with open(os.open(beside, _flags(os.O_EXCL), _MODE), "wb") as out:
            out.writelines(pieces)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_asked(path: Path, pieces: Iterable[bytes]) -> None:
    """Write to a place that the user names, as :func:`write_whole`; a terminal, a device or a pipe that somebody
    reads gets the content as it is. OSError of ``-``: what has a standard output to write to does so itself."""
    if str(path) == STDOUT:
        raise OSError(errno.EINVAL, "names standard output, which this cannot be written to: name a file", STDOUT)
    if not _is_stream(path):
        write_whole(path, pieces)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "a pipe that nobody reads", str(path)) from error
        raise
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as out:
        out.writelines(pieces)


def _flags(more: int) -> int:
    return os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | more


def _is_device(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _is_stream(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return str(path.parent) in _STREAMS or not stat.S_ISREG(mode)
