"""The files of the boots that were heard, numbered on from those that are there: no earlier capture is written over."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cr3scope.errors import UnusableInput

_NAME = re.compile(r"boot-([0-9]{3,6})\.(?:log|json)")


def prepare(folder: Path) -> None:
    """Make the folder. UnusableInput if it cannot be, or nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableInput(f"{folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UnusableInput(f"{folder}: captures cannot be kept there: permission denied")


def new_capture(folder: Path) -> Path:
    """Return the path of a new, empty file for a boot. UnusableInput if there can be none."""
    try:
        taken = [int(found[1]) for found in map(_NAME.fullmatch, os.listdir(folder)) if found]
        number = max(taken, default=0)
        while True:
            number += 1
            path = folder / f"boot-{number:03d}.log"
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            except FileExistsError:  # of another who listens
                continue
            return path
    except OSError as error:
        raise UnusableInput(f"{folder}: {error.strerror}") from error
