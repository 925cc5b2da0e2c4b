"""A QEMU command once more, from disks as they were at the first time, and without a trace of it in the user's files."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cr3scope import limits
from cr3scope.qemu.command import Command, options_of, properties_of

# Options whose value is an image, as it is.
_IMAGES = frozenset({"hda", "hdb", "hdc", "hdd", "fda", "fdb", "pflash", "sd", "mtdblock"})
_PORTS = frozenset({"serial", "parallel", "debugcon", "monitor"})
_READ_ONLY = frozenset({("readonly", "on"), ("read-only", "on"), ("readonly", "true"), ("read-only", "true"), ("media", "cdrom")})
_SHARED = {"virtfs": "a folder of the host", "fsdev": "a folder of the host", "tpmdev": "a TPM"}
_SHARED_DEVICES = ("vfio-", "usb-host", "vhost-user", "pmem", "nvdimm")


@dataclass(frozen=True, slots=True)
class _Image:
    """A disk image that a guest may write: where it stands in the command, and how it was before the first boot."""

    place: int
    file: Path
    was: tuple[int, int]
    copy: Path | None


@dataclass(frozen=True, slots=True)
class AsBefore:
    """What a command's disks were before its first boot."""

    command: Command
    images: tuple[_Image, ...]

    def hazard(self, argv: Sequence[str]) -> str:
        """Return why a second boot could change something of the user's, or meet something else; "" if it cannot.

        ``argv``: the words with which QEMU itself was started at last, whatever script the command is.
        """
        own = {image.file for image in self.images if image.copy is not None} if self.command.is_bare else set()
        for _, name, value in options_of(argv or self.command.words):
            properties = properties_of(value)
            if name in _SHARED and "readonly=on" not in value:
                return f"-{name}: the guest may have changed {_SHARED[name]}"
            if name == "device" and value.startswith(_SHARED_DEVICES):
                return f"-device {value.split(',')[0]}: what the guest does to it stays"
            if name == "object" and "share=on" in value:
                return "-object with share=on: the guest's memory is a file of the host"
            if name == "blockdev" and not _READ_ONLY & set(properties.items()):
                file = properties.get("filename")
                if value.startswith("{") or file is not None and Path(file) not in own:
                    return "-blockdev: what the guest writes cannot be kept from the image"
            if name in ("gdb", "s"):
                return "a debugger was there the first time"
        return ""

    def changed(self) -> Iterator[str]:
        """Yield the images that the first boot has written, and of which no copy was kept: the second begins with that."""
        for image in self.images:
            if image.copy is None and _state(image.file) != image.was:
                yield str(image.file)

    def again(self) -> Command:
        """Return the command for a second boot: on copies where images were written, and nothing is written to any."""
        words = list(self.command.words)
        for image in self.images:
            if image.copy is not None:
                words[image.place] = words[image.place].replace(_escaped(str(image.file)), _escaped(str(image.copy)))
        for place, name, value in options_of(words):
            if name == "drive" and "snapshot=" in value:
                words[place + 1] = value.replace("snapshot=off", "snapshot=on")
            elif name in _PORTS and value.startswith("file:"):
                words[place + 1] = "null"
            elif name == "chardev" and value.startswith("file,"):
                words[place + 1] = f"null,id={properties_of(value).get('id', '')}"
        return replace(self.command, words=(*words, "-snapshot"), log_file=None, serial_copy=None)


def before_first_boot(command: Command, folder: Path) -> AsBefore:
    """Return what the disks are now, with a copy in ``folder`` of each that is not too large."""
    return AsBefore(command, tuple(_images(command.words, folder)))


def _images(words: Sequence[str], folder: Path) -> Iterator[_Image]:
    for place, name, value in options_of(words):
        properties = properties_of(value)
        if name in _IMAGES:
            file = value
        elif name in ("drive", "blockdev") and not _READ_ONLY & set(properties.items()):
            file = properties.get("file" if name == "drive" else "filename", "")
        else:
            continue
        was = _state(Path(file)) if file else None
        if was is not None:
            yield _Image(place + 1, Path(file), was, _copy(Path(file), was[0], folder / f"image-{place}"))


def _state(file: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None if it is no file."""
    with contextlib.suppress(OSError, ValueError):
        found = file.stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_size, found.st_mtime_ns
    return None


def _copy(file: Path, size: int, target: Path) -> Path | None:
    if size > limits.KEPT_IMAGE_BYTES or not os.access(file, os.W_OK):
        return None
    try:
        shutil.copyfile(file, target)
    except OSError:
        return None
    return target


def _escaped(text: str) -> str:
    return text.replace(",", ",,")
