"""The sections of an ELF file, read one by one and never beyond a budget; compressed ones are unpacked."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cr3scope import limits
from cr3scope.arrays import Data, integers
from cr3scope.errors import UnusableInput
from cr3scope.elf.head import MAGIC, ElfHead, read_head
from cr3scope.input.plain_file import open_plain

NO_BITS = 8  # sh_type of what has no bytes in the file
_COMPRESSED = 1 << 11  # of sh_flags
_ZLIB = 1  # ch_type
_CHDR = {32: struct.Struct("<III"), 64: struct.Struct("<IIQQ")}  # type, (reserved,) size, alignment
_OLD, _OLD_HEAD = "z", 12  # .zdebug_*: "ZLIB" and the size, big-endian


class LeftOut(Exception):
    """Something is not read because it exceeds a budget, or is in a form that is not known; the words say which."""


class Section(NamedTuple):
    """One section header; ``link`` is the number of another section that belongs to it."""

    number: int
    kind: int
    flags: int
    virt: int
    offset: int
    size: int
    link: int
    entry: int


class ElfSections:
    """A file whose headers have been checked; no section is read before somebody asks for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: Data = _mapped(path)
        if self.data[: len(MAGIC)] != MAGIC:
            raise UnusableInput(f"{path}: not an ELF file")
        self.head: ElfHead = read_head(self.data, str(path))

    def of_kind(self, kind: int) -> Iterator[Section]:
        """Yield the sections of a type, in the order of the file."""
        for number in integers((self.head.sections["type"] == kind).nonzero()[0]):
            yield self.number(number)

    def number(self, number: int) -> Section:
        """Return a section by its number; UnusableInput if there is none."""
        if not number < len(self.head.sections):
            raise UnusableInput(f"{self.path}: damaged ELF file: there is no section {number}")
        row = self.head.sections[number]
        return Section(number, *(int(row[name]) for name in ("type", "flags", "virt", "offset", "size", "link", "entry")))

    def named(self, name: str) -> Section | None:
        """Return the first section of that name; None if there is none."""
        number = self._numbers.get(name.encode())
        return None if number is None else self.number(number)

    def contents(self, section: Section, most: int) -> bytes:
        """Return what is in a section, unpacked. LeftOut if it has more than ``most`` bytes; UnusableInput if it is cut."""
        if section.kind == NO_BITS:
            return b""
        if section.offset + section.size > len(self.data):
            raise UnusableInput(f"{self.path}: damaged ELF file: section {section.number} reaches beyond its end")
        if section.size > most:
            raise LeftOut(f"section {section.number} has {section.size} bytes, of which at most {most} are read")
        data = bytes(self.data[section.offset : section.offset + section.size])
        return self._unpacked(data, section.number, most) if section.flags & _COMPRESSED else data

    def has_debug(self, name: str) -> bool:
        """Return whether there is a section ``.debug_NAME``, however it is packed."""
        return any(self.named(f".{old}debug_{name}") for old in ("", _OLD))

    def debug(self, name: str, most: int) -> bytes | None:
        """Return the contents of ``.debug_NAME``, also where it is packed in the old way; None if there is none."""
        section = self.named(f".debug_{name}")
        if section is not None:
            return self.contents(section, most)
        old = self.named(f".{_OLD}debug_{name}")
        if old is None:
            return None
        data = self.contents(old, most)
        size = int.from_bytes(data[4:_OLD_HEAD], "big")
        return self._inflated(data[_OLD_HEAD:], size, old.number, most)

    def _unpacked(self, data: bytes, number: int, most: int) -> bytes:
        head = _CHDR[self.head.bits]
        if len(data) < head.size:
            raise UnusableInput(f"{self.path}: damaged ELF file: the head of compressed section {number} is cut")
        kind, *sizes = head.unpack_from(data)
        if kind != _ZLIB:
            raise LeftOut(f"section {number} is compressed in a way that is not known (type {kind}; 1 is zlib)")
        return self._inflated(data[head.size :], sizes[-2], number, most)

    def _inflated(self, packed: bytes, size: int, number: int, most: int) -> bytes:
        if size > most:
            raise LeftOut(f"section {number} unpacks to {size} bytes, of which at most {most} are read")
        try:
            data = zlib.decompressobj().decompress(packed, size + 1)
        except zlib.error as error:
            raise UnusableInput(f"{self.path}: damaged ELF file: compressed section {number}: {error}") from error
        if len(data) != size:
            raise UnusableInput(f"{self.path}: damaged ELF file: compressed section {number} does not unpack to {size} bytes")
        return data

    def name_of(self, number: int) -> str:
        """Return the name of a section, "" if it has none."""
        return self._name(int(self.head.sections["name"][number])).decode("utf-8", "replace")

    def _name(self, at: int) -> bytes:
        end = self._names.find(b"\0", at, at + limits.ELF_SYMBOL_NAME)
        return self._names[at : end if end >= 0 else at]

    @cached_property
    def _names(self) -> bytes:
        if not self.head.names or not len(self.head.sections):
            return b""
        try:
            return self.contents(self.number(self.head.names), limits.ELF_NAME_BYTES)
        except LeftOut as error:
            raise UnusableInput(f"{self.path}: the names of its sections: {error}") from error

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        """The number of the first section of each name."""
        if not self._names:
            return {}
        found: dict[bytes, int] = {}
        for number, at in enumerate(integers(self.head.sections["name"])):
            found.setdefault(self._name(at), number)
        return found


def _mapped(path: Path) -> Data:
    """The file, mapped and not read: a kernel with debug information may have hundreds of megabytes."""
    try:
        with open_plain(path) as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}") from error
    except ValueError as error:  # it is empty
        raise UnusableInput(f"{path}: not an ELF file: {error}") from error
