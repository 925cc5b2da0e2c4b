"""Which loaded image an ELF or PE file is the twin of."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.image_list import named
from cr3scope.images.loaded import Loaded
from cr3scope.images.pe_twin import PeTwin
from cr3scope.input.plain_file import open_plain

_NT_GNU_BUILD_ID = 3


@dataclass(frozen=True)
class Match:
    """An image and by what it was matched: "build id", "its code", "name"."""

    image: Loaded
    by: str


def match(twin: ElfTwin | PeTwin, images: Iterable[Loaded]) -> Match | None:
    """Return the image that the twin is of, None if it is of none.

    By build id; else by its code or by name, unless the image tells another build id.
    """
    found = list(_in_reach(images))
    if twin.build_id:
        note = _note(bytes.fromhex(twin.build_id))
        for image in found:
            if note in image.memory:
                return Match(image, "build id")
    others = [image for image in found if not (twin.build_id and _has_build_id(image))]
    alike = [image for image in others if _same_code(twin, image)]
    if len(alike) == 1:
        return Match(alike[0], "its code")
    try:
        # A PE file is what was loaded: another one of that name is not it. What can run at one place only
        # was made into no image: kernel.elf is not the twin of kernel.efi that loads it.
        is_by_name = isinstance(twin, ElfTwin) and twin.is_relocatable
        return Match(named(others, twin.path.name), "name") if is_by_name else None
    except UnusableInput:
        return None


def opened(path: Path) -> ElfTwin | PeTwin:
    """Return the file by its kind; UnusableInput if it is neither ELF nor PE."""
    try:
        with open_plain(path) as file:
            is_pe = file.read(2) == b"MZ"
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}") from error
    twin: ElfTwin | PeTwin = PeTwin(path) if is_pe else ElfTwin(path)
    twin.check()
    return twin


def _in_reach(images: Iterable[Loaded]) -> Iterator[Loaded]:
    """The first ones, as many as a machine can hold: a guest's list may claim any number and size."""
    left = limits.IMAGES_BYTES
    for image in images:
        left -= image.image.size
        if left < 0:
            return
        yield image


def _note(build_id: bytes) -> bytes:
    """The whole ELF note: a loader may also hold the bare build id of the kernel that it loads."""
    return struct.pack("<III4s", 4, len(build_id), _NT_GNU_BUILD_ID, b"GNU\0") + build_id


def _has_build_id(image: Loaded) -> bool:
    return struct.pack("<II4s", 20, _NT_GNU_BUILD_ID, b"GNU\0") in image.memory


def _same_code(twin: ElfTwin | PeTwin, image: Loaded) -> bool:
    """The file's code lies in the image at the same offset.

    Code is position independent there: the firmware relocates data.
    """
    pieces = list(twin.code())
    return bool(pieces) and all(
        code and image.memory[start : start + len(code)] == code for start, code in pieces
    )
