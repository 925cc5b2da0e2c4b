"""The headers of a PE32+ image, from a file or from where it was loaded.

Microsoft, PE Format: "COFF File Header", "Optional Header", "Section Table", "Debug Directory".
Everything read is untrusted: what lies outside the given bytes is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cr3scope import limits
from cr3scope.arrays import Data
from cr3scope.dataclass import dataclass

HEADER_BYTES = 0x1000
MACHINE_X64 = 0x8664
PE32_PLUS = 0x20B
NEW_HEADER_AT = 0x3C  # e_lfanew
SIGNATURE = b"PE\0\0"
COFF = struct.Struct("<HHIIIHH")
OPTIONAL_ENTRY, OPTIONAL_IMAGE_BASE = 16, 24
OPTIONAL_SIZE_OF_IMAGE, OPTIONAL_DIRECTORIES = 56, 108
_DEBUG_DIRECTORY = 6
SECTION = struct.Struct("<8sIIIIIIHHI")
_DEBUG_ENTRY = struct.Struct("<IIHHIIII")
_CODEVIEW = 2
_PATH_AT = {b"RSDS": 24, b"NB10": 16}
_EXECUTE = 0x20000000
_WRITE = 0x80000000


@dataclass(frozen=True, slots=True)
class Section:
    """One section: ``offset`` is its place in the loaded image, ``in_file`` that in the file."""

    name: str
    offset: int
    size: int
    executable: bool
    in_file: int = 0
    bytes_in_file: int = 0
    writable: bool = False


@dataclass(frozen=True, slots=True)
class PeHeader:
    """What the headers say. Offsets count from the image's base."""

    size: int
    entry: int
    sections: tuple[Section, ...]
    debug: tuple[int, int]  # offset and size of the debug directory
    linked_at: int = 0  # ImageBase: where the file's own addresses count from

    def code_view(self, directory: bytes) -> tuple[int, int] | None:
        """Return offset and size of the record that names the PDB, None without one.

        ``directory`` is the debug directory.
        """
        for at in range(0, len(directory) - _DEBUG_ENTRY.size + 1, _DEBUG_ENTRY.size):
            _, _, _, _, kind, size, offset, _ = _DEBUG_ENTRY.unpack_from(directory, at)
            if kind == _CODEVIEW and offset and offset + size <= self.size:
                return offset, size
        return None


def read_header(data: bytes) -> PeHeader | None:
    """Return the header at the start of ``data``; None if this is no x86-64 PE image.

    :data:`HEADER_BYTES` are enough for what linkers write.
    """
    if data[:2] != b"MZ" or len(data) < NEW_HEADER_AT + 4:
        return None
    at = struct.unpack_from("<I", data, NEW_HEADER_AT)[0]
    optional = at + len(SIGNATURE) + COFF.size
    if data[at : at + 4] != SIGNATURE or len(data) < optional + OPTIONAL_DIRECTORIES + 4:
        return None
    machine, sections, _, _, _, optional_bytes, _ = COFF.unpack_from(data, at + 4)
    magic = struct.unpack_from("<H", data, optional)[0]
    if machine != MACHINE_X64 or magic != PE32_PLUS:
        return None
    size = struct.unpack_from("<I", data, optional + OPTIONAL_SIZE_OF_IMAGE)[0]
    entry = struct.unpack_from("<I", data, optional + OPTIONAL_ENTRY)[0]
    linked_at = struct.unpack_from("<Q", data, optional + OPTIONAL_IMAGE_BASE)[0]
    if not 0 < size <= limits.PE_IMAGE_BYTES:
        return None
    found = tuple(read_sections(data, optional + optional_bytes, min(sections, limits.PE_SECTIONS)))
    return PeHeader(size, entry, found, _debug(data, optional), linked_at)


def pdb_name(record: bytes) -> str | None:
    """Return the file name, without its folders, that a CodeView record names; None if it names none."""
    at = _PATH_AT.get(record[:4])
    if at is None:
        return None
    path = record[at:].split(b"\0")[0].decode("utf-8", "replace").replace("\\", "/")
    return path.rsplit("/", 1)[-1] or None


def read_sections(data: Data, at: int, count: int) -> Iterator[Section]:
    """Yield the rows of a section table that lie in the given bytes."""
    for place in range(at, at + count * SECTION.size, SECTION.size):
        if place + SECTION.size > len(data):
            return
        name, size, offset, raw, in_file, _, _, _, _, flags = SECTION.unpack_from(data, place)
        words = name.rstrip(b"\0").decode("ascii", "replace")
        yield Section(words, offset, size or raw, bool(flags & _EXECUTE), in_file, raw, bool(flags & _WRITE))


def _debug(data: bytes, optional: int) -> tuple[int, int]:
    count = struct.unpack_from("<I", data, optional + OPTIONAL_DIRECTORIES)[0]
    at = optional + OPTIONAL_DIRECTORIES + 4 + 8 * _DEBUG_DIRECTORY
    if count <= _DEBUG_DIRECTORY or at + 8 > len(data):
        return 0, 0
    offset, size = struct.unpack_from("<II", data, at)
    return offset, min(size, limits.PE_DEBUG_ENTRIES * _DEBUG_ENTRY.size)
