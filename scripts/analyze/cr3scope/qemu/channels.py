"""The folder of a run's sockets and pipes: private, of a name that QEMU takes as it is, gone with the run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cr3scope.errors import UnusableInput

_PREFIX = ".cr3scope-"
_RUNTIME = "XDG_RUNTIME_DIR"
_LONGEST_NAME = len("/serial")
_MOST_SOCKET = 107  # bytes of a socket's path (unix(7), sun_path)
# QEMU replaces `%d` in a log's name, its monitor splits at blanks and quotes, its options at commas.
_PLAIN = re.compile(r"/[A-Za-z0-9_./+@:=~-]*")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def channels_in(folder: Path) -> Iterator[Path]:
    """Make a folder that only this user can enter, and remove it afterwards. UnusableInput if none can be made.

    It lies in XDG_RUNTIME_DIR, else in the output folder, else where temporary files go.
    """
    made = _make(folder)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _make(folder: Path) -> Path:
    runtime = os.environ.get(_RUNTIME, "")
    places = [runtime] if runtime.startswith("/") else []
    for place in (*places, str(folder.absolute()), os.environ.get("TMPDIR", "/tmp"), "/tmp", "/var/tmp"):
        with contextlib.suppress(OSError):
            if _is_fit(place):
                return _with_channels(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place)))
    raise UnusableInput(f"no folder can hold the sockets of a run: set {_RUNTIME} to a private one with a short, plain name")


def _is_fit(place: str) -> bool:
    """Whether nobody else can move what is made there, and QEMU takes its name."""
    length = len(os.fsencode(place)) + len(f"/{_PREFIX}12345678") + _LONGEST_NAME
    if not _PLAIN.fullmatch(place) or length > _MOST_SOCKET:
        return False
    found = os.stat(place)
    is_safe = not found.st_mode & _OTHERS_WRITE or bool(found.st_mode & stat.S_ISVTX)
    return is_safe and found.st_uid in (0, os.geteuid())


def _with_channels(made: Path) -> Path:
    """The folder, if its file system has pipes; OSError if not, and nothing is left."""
    try:
        os.mkfifo(made / "probe", 0o600)
        (made / "probe").unlink()
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return made
