"""What a disk image was before a guest wrote to it: a copy, or what tells that it was changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.qemu.command import with_property

_FAT, _FILE = "fat:", "file:"  # QEMU's own prefixes: a folder as a FAT volume, and a file whose name may have a colon
State = tuple[int, int]  # bytes, and the time of the last change


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image that a guest may write, and how it was. ``place``: of the option's value in the command, ``key``: its property, "" for the whole."""

    place: int
    key: str
    file: Path
    was: State
    copy: Path | None
    word: str  # as the command names it

    def is_changed(self) -> bool:
        """Return whether it is other than it was."""
        return _state(self.file) != self.was

    def instead(self, value: str) -> str:
        """Return an option's value with the copy in the place of the image."""
        if self.copy is None:
            return value
        folder = folder_of(self.word)
        word = str(self.copy) if folder is None else self.word.removesuffix(folder) + str(self.copy)
        return with_property(value, self.key, word) if self.key else word


def keep(place: int, key: str, word: str, target: Path) -> KeptImage | None:
    """Return what the image that a word of the command names is now, with a copy at ``target`` if that is not too large.

    None if it is no file or folder, or nobody can write to it.
    """
    if folder_of(word) is not None and ":rw:" not in word:
        return None
    file = Path(place_of(word))
    was = _state(file) if word else None
    return None if was is None else KeptImage(place, key, file, was, _copy(file, was[0], target.absolute()), word)


def folder_of(word: str) -> str | None:
    """Return the folder that QEMU makes a FAT volume of; None if the word names none."""
    return word.rpartition(":")[2] if word.startswith(_FAT) else None


def place_of(word: str) -> str:
    """Return the file or folder of the host that a word of a drive's names."""
    folder = folder_of(word)
    return str(Path(word.removeprefix(_FILE) if folder is None else folder))


def _state(file: Path) -> State | None:
    """None if it is neither a file nor a folder, or nothing that can be looked at."""
    with contextlib.suppress(OSError, ValueError):
        found = file.stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_size, found.st_mtime_ns
        if stat.S_ISDIR(found.st_mode):
            inside = [each.stat() for each in islice(_below(file), limits.KEPT_FOLDER_FILES) if each.exists()]
            return sum(each.st_size for each in inside), max(each.st_mtime_ns for each in (found, *inside))
    return None


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *files))


def _dangling(folder: str, names: Iterable[str]) -> list[str]:
    """The links that lead nowhere."""
    return [name for name in names if not Path(folder, name).exists()]


def _copy(file: Path, size: int, target: Path) -> Path | None:
    if size > limits.KEPT_IMAGE_BYTES or not os.access(file, os.W_OK):
        return None
    try:
        if not file.is_dir():
            shutil.copyfile(file, target)
        elif any(number >= limits.KEPT_FOLDER_FILES or each.is_symlink() and each.is_dir() for number, each in enumerate(_below(file), 1)):
            return None  # of a link to a folder nobody knows how much lies behind it
        else:
            shutil.copytree(file, target, ignore=_dangling)
    except (OSError, shutil.Error):
        return None
    return target
