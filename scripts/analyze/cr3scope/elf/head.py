"""The headers of an ELF file, checked against the file before anybody follows them (ELF-64 and ELF-32, gABI chapter 4).

Counts and places are the file's own claims: a header of 64 bytes may say that 2^64 others follow. What does not lie in
the file is refused here, by one line, so that no library walks after it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cr3scope.arrays import Data
from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput

if TYPE_CHECKING:
    import numpy.typing as npt

MAGIC = b"\x7fELF"
CORE, SHARED = 4, 3  # e_type
X86_64, I386 = 62, 3  # e_machine
LOAD, NOTE = 1, 4  # p_type
_IDENT_BYTES = 16
_CLASS_AT, _ORDER_AT, _LITTLE = 4, 5, 1
_COUNT_ELSEWHERE = 0xFFFF  # of e_phnum (PN_XNUM): section 0 tells it
_HEADS = {1: struct.Struct("<HHIIIIIHHHHHH"), 2: struct.Struct("<HHIQQQIHHHHHH")}  # by class: 32 or 64 bits
_PROGRAMS = {
    1: np.dtype([("type", "<u4"), ("offset", "<u4"), ("virt", "<u4"), ("phys", "<u4"), ("filesz", "<u4"), ("memsz", "<u4"),
                 ("flags", "<u4"), ("align", "<u4")]),
    2: np.dtype([("type", "<u4"), ("flags", "<u4"), ("offset", "<u8"), ("virt", "<u8"), ("phys", "<u8"), ("filesz", "<u8"),
                 ("memsz", "<u8"), ("align", "<u8")]),
}  # fmt: skip
_WORDS = {1: "<u4", 2: "<u8"}
Table: TypeAlias = "npt.NDArray[np.void]"


@dataclass(frozen=True, slots=True)
class ElfHead:
    """What the headers say. ``programs`` and ``sections`` are columns by name: type, flags, offset, virt, ..

    ``names``: the number of the section that has the sections' names.
    """

    kind: int
    machine: int
    entry: int
    programs: Table
    sections: Table
    names: int
    bits: int


def read_head(data: Data, path: str, what: str = "ELF file", *, with_sections: bool = True) -> ElfHead:
    """Return the headers of ``what`` the file is meant to be; UnusableInput if the file is cut in them, or is of no PC.

    Without sections those of the file are left alone, whatever they are.
    """
    broken = f"{path}: damaged {what}"
    ident = bytes(data[:_IDENT_BYTES])
    layout = ident[_CLASS_AT] if len(ident) == _IDENT_BYTES else 0
    if not ident.startswith(MAGIC) or layout not in _HEADS:
        raise UnusableInput(f"{broken}: neither of 32 nor of 64 bits (EI_CLASS {layout})")
    if ident[_ORDER_AT] != _LITTLE:
        raise UnusableInput(f"{path}: an {what} of another byte order (EI_DATA {ident[_ORDER_AT]})")
    head = _HEADS[layout]
    fields = bytes(data[_IDENT_BYTES : _IDENT_BYTES + head.size])
    if len(fields) < head.size:
        raise UnusableInput(f"{broken}: its header is cut")
    (kind, machine, _, entry, programs_at, sections_at, _, _, program_bytes, programs, section_bytes, sections,
     names) = head.unpack(fields)  # fmt: skip
    row = _section_row(layout)
    elsewhere = programs == _COUNT_ELSEWHERE or (with_sections and not sections)
    if sections_at and elsewhere:
        first = _rows(data, broken, "section header", sections_at, 1, section_bytes, row, 1)[0]
        programs = int(first["info"]) if programs == _COUNT_ELSEWHERE else programs
        sections = sections or int(first["size"])
    if not (sections_at and with_sections):
        sections = 0
    return ElfHead(
        kind, machine, entry,
        _rows(data, broken, "program headers", programs_at, programs, program_bytes, _PROGRAMS[layout], limits.ELF_SEGMENTS),
        _rows(data, broken, "section headers", sections_at, sections, section_bytes, row, limits.ELF_SECTIONS),
        names, 32 * layout,
    )  # fmt: skip


def _section_row(layout: int) -> np.dtype[Any]:
    word = _WORDS[layout]
    return np.dtype([("name", "<u4"), ("type", "<u4"), ("flags", word), ("virt", word), ("offset", word), ("size", word),
                     ("link", "<u4"), ("info", "<u4"), ("align", word), ("entry", word)])  # fmt: skip


def _rows(data: Data, broken: str, what: str, at: int, count: int, stride: int, row: np.dtype[Any], most: int) -> Table:
    """The table as the file holds it, each row without what a longer one has at its end."""
    if not count:
        return np.empty(0, row)
    if stride < row.itemsize:
        raise UnusableInput(f"{broken}: {what} of {stride} bytes each, not {row.itemsize}")
    if count > most:
        raise UnusableInput(f"{broken}: {count} {what}, of which at most {most} are read")
    if at + count * stride > len(data):
        raise UnusableInput(f"{broken}: {count} {what} at {at:#x} reach beyond its end (cut short?)")
    cells = np.frombuffer(data, np.uint8, count * stride, at).reshape(count, stride)
    return np.ascontiguousarray(cells[:, : row.itemsize]).view(row)[:, 0]
