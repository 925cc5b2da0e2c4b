"""What tests make once and find again: a folder below build/snapshots for each content."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from boot.reference import BUILD

ROOT = BUILD / "snapshots"
OLD_SECONDS = 3600.0  # what nobody used for so long is removed when something is made


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a thing, which ``make`` fills in an empty folder of another name if it is not there.

    ``key``: hexadecimal digits, of all that the content depends on. One process makes it, the others wait.
    """
    folder = ROOT / f"{kind}-{key}"
    # A lock for each kind: a thing may be made of one of another kind. Of few names, for they stay.
    with locked(f"{kind}-{key[0]}"):
        if not folder.exists():
            _remove_old()
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
        used(folder)
    return folder


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process in at a time."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(ROOT / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def used(folder: Path) -> None:
    """Keep a folder for as long again."""
    os.utime(folder)


def _remove_old() -> None:
    for folder in ROOT.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > OLD_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
