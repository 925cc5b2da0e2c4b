"""A PE file as UEFI loads it: everything that its headers say, for 64 and 32 bits.

Microsoft, PE Format: "COFF File Header", "Optional Header", "Section Table", "The .reloc Section"; UEFI 2.10, 2.1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from cr3scope import limits
from cr3scope.arrays import Data
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.images.pe_header import (
    COFF, MACHINE_X64, NEW_HEADER_AT, OPTIONAL_DIRECTORIES, OPTIONAL_ENTRY, OPTIONAL_IMAGE_BASE, OPTIONAL_SIZE_OF_IMAGE,
    PE32_PLUS, SIGNATURE, Section, read_sections,
)  # fmt: skip
from cr3scope.x86.entry import PAGE_OFFSET

_MACHINE_I386, _PE32 = 0x14C, 0x10B
_SECTION_ALIGNMENT, _FILE_ALIGNMENT, _SIZE_OF_HEADERS, _SUBSYSTEM, _DLL_CHARACTERISTICS = 32, 36, 60, 68, 70
_IMAGE_BASE_32, _DIRECTORIES_32 = 28, 92
_RELOCS_STRIPPED, _NX_COMPAT = 0x1, 0x100
_RELOCATIONS = 5  # of the data directories
_BLOCK = struct.Struct("<II")
_NO_RELOCATION = 0


@dataclass(frozen=True, slots=True)
class EfiFile:
    """The headers of a PE file. Offsets count from where the image is loaded, places in the file are said to be such.

    ``relocations``: offset and size of the directory, 0 and 0 without one. ``declared``: how many sections the header claims.
    """

    path: Path
    data: Data
    bits: int
    entry: int
    image_base: int
    size: int
    headers: int
    section_alignment: int
    file_alignment: int
    subsystem: int
    is_stripped: bool
    is_nx_compatible: bool
    sections: tuple[Section, ...]
    declared: int
    relocations: tuple[int, int]

    def at(self, offset: int) -> Section | None:
        """Return the section that holds an offset of the image; None if none does."""
        return next((one for one in self.sections if one.offset <= offset < one.offset + one.size), None)

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Return what the file holds for an offset of the image, at most ``length`` bytes."""
        section = self.at(offset)
        if section is None:
            return b""
        inside = offset - section.offset
        return bytes(self.data[section.in_file + inside : section.in_file + min(inside + length, section.bytes_in_file)])

    def relocated(self) -> Iterator[int]:
        """Yield the offset of each word that is moved with the image. ValueError if the table is damaged."""
        at, size = self.relocations
        table = self.bytes_at(at, min(size, limits.LINT_RELOCATION_BYTES))
        place = 0
        while place + _BLOCK.size <= len(table):
            page, length = _BLOCK.unpack_from(table, place)
            if not length:
                return
            if length < _BLOCK.size or place + length > size:
                raise ValueError(f"the block at {at + place:#x} of the image says that it has {length} bytes")
            for entry in struct.unpack_from(f"<{(min(length, len(table) - place) - _BLOCK.size) // 2}H", table, place + _BLOCK.size):
                if entry >> 12 != _NO_RELOCATION:
                    yield page + (entry & PAGE_OFFSET)
            place += length


def read_efi(path: Path, data: Data) -> EfiFile:
    """Return the headers of a PE file. UnusableInput if they are cut, or those of another machine."""
    at = struct.unpack_from("<I", data, NEW_HEADER_AT)[0] if len(data) >= NEW_HEADER_AT + 4 else len(data)
    optional = at + len(SIGNATURE) + COFF.size
    if data[at : at + len(SIGNATURE)] != SIGNATURE or len(data) < optional + OPTIONAL_DIRECTORIES + 4:
        raise UnusableInput(f"{path}: begins as a PE file (MZ), but has no PE header at {at:#x}")
    machine, count, _, _, _, optional_bytes, characteristics = COFF.unpack_from(data, at + len(SIGNATURE))
    magic = _word(data, optional, "H")
    if (machine, magic) not in ((MACHINE_X64, PE32_PLUS), (_MACHINE_I386, _PE32)):
        raise UnusableInput(f"{path}: a PE file of another machine (machine {machine:#x}, magic {magic:#x}), not of a PC")
    is_64 = magic == PE32_PLUS
    directories = optional + (OPTIONAL_DIRECTORIES if is_64 else _DIRECTORIES_32)
    place = directories + 4 + 8 * _RELOCATIONS
    has_table = _word(data, directories, "I") > _RELOCATIONS and place + 8 <= len(data)
    return EfiFile(
        path, data, 64 if is_64 else 32, _word(data, optional + OPTIONAL_ENTRY, "I"),
        _word(data, optional + OPTIONAL_IMAGE_BASE, "Q") if is_64 else _word(data, optional + _IMAGE_BASE_32, "I"),
        _word(data, optional + OPTIONAL_SIZE_OF_IMAGE, "I"), _word(data, optional + _SIZE_OF_HEADERS, "I"),
        _word(data, optional + _SECTION_ALIGNMENT, "I"), _word(data, optional + _FILE_ALIGNMENT, "I"),
        _word(data, optional + _SUBSYSTEM, "H"), bool(characteristics & _RELOCS_STRIPPED),
        bool(_word(data, optional + _DLL_CHARACTERISTICS, "H") & _NX_COMPAT),
        tuple(read_sections(data, optional + optional_bytes, min(count, limits.PE_SECTIONS))), count,
        (_word(data, place, "I"), _word(data, place + 4, "I")) if has_table else (0, 0),
    )  # fmt: skip


def _word(data: Data, at: int, form: str) -> int:
    value: int = struct.unpack_from(f"<{form}", data, at)[0]
    return value
