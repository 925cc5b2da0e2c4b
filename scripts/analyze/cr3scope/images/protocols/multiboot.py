"""The headers of Multiboot 1 and 2, wherever they lie in a file: also where no loader looks for them.

Multiboot Specification 0.6.96, 3.1; Multiboot2 Specification 2.0, 3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cr3scope import limits
from cr3scope.arrays import Data
from cr3scope.dataclass import dataclass

_MAGIC_1, _MAGIC_2 = 0x1BAD_B002, 0xE852_50D6
_HEAD_1, _HEAD_2 = struct.Struct("<III"), struct.Struct("<IIII")
_ADDRESSES = struct.Struct("<IIIII")  # of Multiboot 1: header, load, load end, bss end, entry
_TAG = struct.Struct("<HHI")
_KNOWN_FLAGS = 0x1_0007  # of Multiboot 1: alignment of modules, memory, video; and the addresses
_HAS_ADDRESSES = 1 << 16
_TAG_ADDRESS, _TAG_ENTRY, _TAG_ENTRY_EFI64 = 2, 3, 9
_MASK = 0xFFFF_FFFF
_MOST_TAGS = 256


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a Multiboot 2 header; ``at`` counts from the header's beginning. Tag 0 ends the header."""

    kind: int
    flags: int
    size: int
    at: int
    word: int = 0  # the first of what it holds: of an entry tag the address


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where Multiboot loads a file that it need not know the format of; 0 as end: up to the file's end."""

    header: int
    load: int
    load_end: int
    bss_end: int
    entry: int


@dataclass(frozen=True, slots=True)
class Multiboot:
    """One header. ``offset``: in the file; ``checksum`` is its own, ``sum_wanted`` the right one.

    ``flags`` of version 1; ``architecture``, ``length`` and ``tags`` of version 2. ``is_cut``: the file ends in it.
    """

    version: int
    offset: int
    checksum: int
    sum_wanted: int
    flags: int = 0
    addresses: Addresses | None = None
    architecture: int = 0
    length: int = 0
    tags: tuple[Tag, ...] = ()
    is_cut: bool = False

    @property
    def window(self) -> int:
        """Return within how many bytes from the file's beginning the whole header must lie."""
        return 8192 if self.version == 1 else 32768

    @property
    def alignment(self) -> int:
        """Return what the header's offset must be a multiple of."""
        return 4 if self.version == 1 else 8

    @property
    def size(self) -> int:
        """Return the length of the header in bytes."""
        if self.version == 2:
            return self.length
        return _HEAD_1.size + (_ADDRESSES.size if self.addresses else 0)

    @property
    def is_seen(self) -> bool:
        """Return whether a loader that follows the specification recognises the header."""
        placed = self.offset % self.alignment == 0 and self.offset + self.size <= self.window
        return placed and self.checksum == self.sum_wanted

    @property
    def entry(self) -> int | None:
        """Return where the header wants the file to be entered; None: where the file's format says."""
        if self.addresses is not None:
            return self.addresses.entry
        return next((tag.word for tag in self.tags if tag.kind == _TAG_ENTRY), None)

    @property
    def enters_by_efi(self) -> bool:
        """Return whether a 64-bit entry for EFI stands in it, at which the CPU is in long mode."""
        return any(tag.kind == _TAG_ENTRY_EFI64 for tag in self.tags)

    @property
    def names_addresses(self) -> bool:
        """Return whether the header itself says where to load, and the format of the file does not count."""
        return self.addresses is not None or any(tag.kind == _TAG_ADDRESS for tag in self.tags)


def find_multiboot(data: Data) -> tuple[Multiboot, ...]:
    """Return a file's header of each version: one that loaders see if there is any, else the first that was meant as one."""
    best: dict[int, Multiboot] = {}
    for one in _headers(data):
        if one.version not in best or one.is_seen and not best[one.version].is_seen:
            best[one.version] = one
    return tuple(best.values())


def _headers(data: Data) -> Iterator[Multiboot]:
    for magic, read in ((_MAGIC_2, _version_2), (_MAGIC_1, _version_1)):
        wanted = magic.to_bytes(4, "little")
        at = data.find(wanted, 0, limits.LINT_SEARCH_BYTES)
        for _ in range(limits.LINT_MAGICS):
            if at < 0:
                break
            header = read(data, at)
            if header is not None:
                yield header
            at = data.find(wanted, at + 1, limits.LINT_SEARCH_BYTES)


def _version_1(data: Data, at: int) -> Multiboot | None:
    """The header at a magic number; None if nothing else there looks like one."""
    head = data[at : at + _HEAD_1.size]
    if len(head) < _HEAD_1.size:
        return None
    magic, flags, checksum = _HEAD_1.unpack(head)
    wanted = -(magic + flags) & _MASK
    if checksum != wanted and (flags & ~_KNOWN_FLAGS or at % 4 or at >= 8192):
        return None  # a loader compares files with the number too
    words = data[at + _HEAD_1.size : at + _HEAD_1.size + _ADDRESSES.size] if flags & _HAS_ADDRESSES else b""
    addresses = Addresses(*_ADDRESSES.unpack(words)) if len(words) == _ADDRESSES.size else None
    is_cut = bool(flags & _HAS_ADDRESSES) and addresses is None
    return Multiboot(1, at, checksum, wanted, flags=flags, addresses=addresses, is_cut=is_cut)


def _version_2(data: Data, at: int) -> Multiboot | None:
    head = data[at : at + _HEAD_2.size]
    if len(head) < _HEAD_2.size:
        return None
    magic, architecture, length, checksum = _HEAD_2.unpack(head)
    wanted = -(magic + architecture + length) & _MASK
    is_likely = architecture in (0, 4) and _HEAD_2.size <= length <= 32768
    if checksum != wanted and (not is_likely or at % 8 or at >= 32768):
        return None
    if not is_likely and length > len(data):
        return None
    tags = tuple(_tags(bytes(data[at : at + length])))
    return Multiboot(2, at, checksum, wanted, architecture=architecture, length=length, tags=tags, is_cut=at + length > len(data))


def _tags(header: bytes) -> Iterator[Tag]:
    at = _HEAD_2.size
    for _ in range(_MOST_TAGS):
        if at + _TAG.size > len(header):
            return
        kind, flags, size = _TAG.unpack_from(header, at)
        word = int.from_bytes(header[at + _TAG.size : at + _TAG.size + 4], "little")
        yield Tag(kind, flags, size, at, word)
        if kind == 0 or size < _TAG.size:
            return
        at += size + -size % 8
