"""Line programs of DWARF 2 to 5 (DWARF 5, 6.2): rows of an address, and the files that they name.

Decoded here and not by a library, so that nothing is read beyond the section, and no count is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.images.elf_sections import LeftOut

Row = tuple[int, int, int, int]  # first address, last address, file, line
_VERSIONS = range(2, 6)
_LONG = 0xFFFF_FFFF  # a length of which the real one, of 64 bits, follows
_PATH, _DIRECTORY = 1, 2  # DW_LNCT_*
STRING, LINE_STRP, STRP, _UDATA, _BLOCK = 0x08, 0x1F, 0x0E, 0x0F, 0x09  # DW_FORM_*
_FIXED = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}  # data1, data2, data4, data8, data16
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9  # DW_LNS_*
_END_SEQUENCE, _SET_ADDRESS, _DEFINE_FILE = 1, 2, 3  # DW_LNE_*


class Cursor:
    """Reads the fields of a section in order. IndexError or struct.error where it ends."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at = data, at
        self.end = len(data) if end is None else min(end, len(data))

    def number(self, width: int) -> int:
        """Read an unsigned number of so many bytes."""
        at, self.at = self.at, self.at + width
        if self.at > self.end:
            raise IndexError(f"cut at byte {at:#x}")
        return int.from_bytes(self.data[at : self.at], "little")

    def leb(self) -> int:
        """Read an unsigned LEB128; IndexError of one that no 64 bits hold."""
        value = shift = 0
        while shift < 70:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
        raise IndexError(f"a number without end at byte {self.at:#x}")

    def text(self) -> bytes:
        """Read up to a NUL, which is read too."""
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise IndexError(f"a string without end at byte {self.at:#x}")
        at, self.at = self.at, end + 1
        return self.data[at:end]

    def length(self) -> tuple[int, int]:
        """Read the length of a unit; return it, and how many bytes offsets have in it."""
        value = self.number(4)
        return (self.number(8), 8) if value == _LONG else (value, 4)


@dataclass(frozen=True, slots=True)
class Program:
    """The rows of one unit, by address, and its files: path and number of the folder."""

    version: int
    rows: list[Row]
    files: list[tuple[bytes, int]]
    folders: list[bytes]


def read_program(sections: Mapping[str, bytes], at: int, address_bytes: int, left: int) -> tuple[Program, int]:
    """Return the program at a place of ``.debug_line``, and how many bytes of it were decoded.

    LeftOut if it has more than ``left``, or is of a kind that is not known; IndexError if it is cut.
    """
    section = sections["line"]
    head = Cursor(section, at)
    length, offset_bytes = head.length()
    end = head.at + length
    if end > len(section):
        raise IndexError(f"the line program at {at:#x} reaches beyond its section")
    if length > left:
        raise LeftOut(f"the line program at {at:#x} has {length} bytes: of all, {limits.DWARF_LINE_BYTES} are read")
    head.end = end
    version = head.number(2)
    if version not in _VERSIONS:
        raise LeftOut(f"the line program at {at:#x} is of DWARF {version}")
    if version >= 5:
        address_bytes = head.number(1)
        head.number(1)
    header_bytes = head.number(offset_bytes)
    start = head.at + header_bytes
    least = head.number(1)
    if version >= 4:
        head.number(1)
    head.number(1)
    line_base, line_range, opcode_base = struct.unpack("<bBB", head.number(3).to_bytes(3, "little"))
    lengths = [head.number(1) for _ in range(opcode_base - 1)]
    if not line_range or address_bytes not in (4, 8):
        raise IndexError(f"the head of the line program at {at:#x} makes no sense")
    if version >= 5:
        folders = [path for path, _ in _entries(head, sections, offset_bytes)]
        files = list(_entries(head, sections, offset_bytes))
    else:
        folders, files = list(_texts(head)), list(_old_files(head))
    body = Cursor(section, start, end)
    rows = sorted(_rows(body, least, line_base, line_range, opcode_base, lengths, address_bytes, files))
    return Program(version, rows, files, folders), length


def _texts(head: Cursor) -> Iterator[bytes]:
    while text := head.text():
        yield text


def _old_files(head: Cursor) -> Iterator[tuple[bytes, int]]:
    while name := head.text():
        yield _old_file(head, name)


def _old_file(head: Cursor, name: bytes) -> tuple[bytes, int]:
    folder = head.leb()
    head.leb()
    head.leb()
    return name, folder


def _entries(head: Cursor, sections: Mapping[str, bytes], offset_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Path and folder of each entry of DWARF 5; what else an entry tells is skipped."""
    form = [(head.leb(), head.leb()) for _ in range(head.number(1))]
    count = head.leb()
    if count > (head.end - head.at if form else 0):  # each has a byte at least
        raise IndexError(f"{count} names at byte {head.at:#x}")
    for _ in range(count):
        path, folder = b"", 0
        for content, kind in form:
            if kind == STRING:
                value: bytes | int = head.text()
            elif kind in (LINE_STRP, STRP):
                name = "line_str" if kind == LINE_STRP else "str"
                value = Cursor(sections.get(name, b""), head.number(offset_bytes)).text()
            elif kind == _UDATA:
                value = head.leb()
            elif kind == _BLOCK:
                head.at += head.leb()
                value = 0
            elif kind in _FIXED:
                value = head.number(_FIXED[kind])
            else:
                raise LeftOut(f"a name in a line program is of form {kind:#x}, which is not known")
            if content == _PATH and isinstance(value, bytes):
                path = value
            elif content == _DIRECTORY and isinstance(value, int):
                folder = value
        yield path, folder


def _rows(
    body: Cursor, least: int, line_base: int, line_range: int, opcode_base: int, lengths: list[int], address_bytes: int,
    files: list[tuple[bytes, int]],
) -> Iterator[Row]:  # fmt: skip
    """What each instruction of the program emits, as far as the next one is at a higher address."""
    data, end = body.data, body.end
    address, file, line = 0, 1, 1
    before: tuple[int, int, int] | None = None
    while body.at < end:
        opcode = data[body.at]
        body.at += 1
        emits = ends = False
        if opcode >= opcode_base:
            opcode -= opcode_base
            address += opcode // line_range * least
            line += line_base + opcode % line_range
            emits = True
        elif opcode == 0:
            size = body.leb()
            at = body.at
            kind = body.number(1) if size else 0
            if kind == _END_SEQUENCE:
                emits = ends = True
            elif kind == _SET_ADDRESS:
                address = body.number(address_bytes)
            elif kind == _DEFINE_FILE:
                files.append(_old_file(body, body.text()))
            body.at = at + size
        elif opcode == _COPY:
            emits = True
        elif opcode == _ADVANCE_PC:
            address += body.leb() * least
        elif opcode == _ADVANCE_LINE:
            line += _signed(body)
        elif opcode == _SET_FILE:
            file = body.leb()
        elif opcode == _CONST_ADD_PC:
            address += (255 - opcode_base) // line_range * least
        elif opcode == _FIXED_ADVANCE_PC:
            address += body.number(2)
        else:
            for _ in range(lengths[opcode - 1]):
                body.leb()
        if emits:
            if before is not None and address > before[0]:
                yield before[0], address - 1, before[1], before[2]
            before = None if ends else (address, file, line)
        if ends:
            address, file, line = 0, 1, 1


def _signed(body: Cursor) -> int:
    at = body.at
    value = body.leb()
    bits = 7 * (body.at - at)
    return value - (1 << bits) if value >> bits - 1 else value
