"""An ELF file that an image was made from: its build id, symbols and lines (DWARF).

Nothing is read before the first question is asked, and then only the compilation units that hold
the addresses in question: most captures have nothing to attribute, and a verdict must be quick.
"""

from __future__ import annotations

import bisect
import posixpath
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cr3scope import limits
from cr3scope.arrays import integers
from cr3scope.errors import UnusableInput
from cr3scope.images.demangle import demangled
from cr3scope.images.dwarf_lines import Program, read_program
from cr3scope.images.dwarf_units import Unit, Units, unit_with
from cr3scope.images.elf_sections import ElfSections, LeftOut
from cr3scope.images.elf_symbols import ElfSymbols
from cr3scope.images.kernel_notes import TRACES, DeclaredAccess, declared_accesses, declared_flags
from cr3scope.images.source_text import SourceLine
from cr3scope.input.capture.records import ElfRecord
from cr3scope.elf.head import LOAD, NOTE, SHARED
from cr3scope.elf.notes import read_notes

PF_X, PF_W = 1, 2  # flags of a segment
_NOTES = 7  # sh_type
_GNU, _BUILD_ID = b"GNU", 3  # owner and type of the note
_RANGES = "aranges"
_DEBUG = (_RANGES, "info", "abbrev", "line", "str", "line_str", "str_offsets")


class Segment(NamedTuple):
    """What a file wants in memory: ``memsz`` bytes from ``virt`` on, of which ``filesz`` come from the file; ``phys``: where it says that the first lies."""

    number: int
    virt: int
    filesz: int
    memsz: int
    offset: int
    flags: int
    phys: int


class ElfTwin:
    """One ELF file that an image was made from. ``left_out``: what of it is not read, and why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left_out: dict[str, str] = {}

    def check(self) -> None:
        """Raise UnusableInput if this is no ELF file, or its headers are damaged, even when no address is ever looked up."""
        _ = self._elf

    @cached_property
    def build_id(self) -> str | None:
        """Return the GNU build id as hex digits; None if the file has none."""
        for data in self._notes():
            try:
                for note in read_notes(data):
                    if (note.owner, note.kind) == (_GNU, _BUILD_ID):
                        return note.contents.hex()
            except ValueError as error:
                raise UnusableInput(f"{self.path}: damaged ELF notes: {error}") from error
        return None

    @cached_property
    def is_relocatable(self) -> bool:
        """Return whether it may lie anywhere: a PIE, or the shared object that a PE was made from."""
        return self._elf.head.kind == SHARED

    @property
    def is_32_bit(self) -> bool:
        """Return whether it is a file of 32-bit code by its class."""
        return self._elf.head.bits == 32

    @cached_property
    def counts_from(self) -> int:
        """Return the address in the file that lies at the base of the loaded image."""
        if self.is_relocatable:
            return 0
        return min((each.virt for each in self._segments), default=0)

    def holds(self, address: int) -> bool:
        """Return whether a segment has this address, as the file counts."""
        return any(each.virt <= address < each.virt + each.memsz for each in self._segments)

    @cached_property
    def entry(self) -> int:
        """Return the address at which the file wants to be entered."""
        return self._elf.head.entry

    def segments(self) -> Iterator[Segment]:
        """Yield what is loaded, in the order of the file."""
        yield from self._segments

    def declared_accesses(self) -> tuple[DeclaredAccess, ...]:
        """Return the accesses that the file declares in notes."""
        return tuple(access for data in self._notes() for access in declared_accesses(data))

    @cached_property
    def traces(self) -> bool:
        """Return whether the file declares, in a note segment, where loaders look, that its code goes on with the trace."""
        rows = self._elf.head.programs
        rows = rows[rows["type"] == NOTE]
        places = zip(integers(rows["offset"]), integers(rows["filesz"]), strict=True)
        try:
            told = [declared_flags(bytes(self._elf.data[at : at + size])) for at, size in places]
        except ValueError as error:
            raise UnusableInput(f"{self.path}: damaged ELF notes: {error}") from error
        flags = [each for each in told if each is not None]
        return bool(flags and flags[-1] & TRACES)

    def is_kernel(self, record: ElfRecord) -> bool:
        """Return whether this is the file that a loader tells of: by build id, without any by size and entry."""
        if self.build_id or record.build_id:
            return self.build_id == record.build_id
        return (self.entry, len(self._elf.data)) == (record.entry, record.size)

    def code(self) -> Iterator[tuple[int, bytes]]:
        """Yield the segments that can be executed: address in the file, bytes. UnusableInput if the file is cut."""
        for number, start, data in self.contents():
            if self._segments[number].flags & PF_X:
                yield start, data

    def phys_of(self, virt: int) -> int | None:
        """Return the physical address that the file names for an address in it (p_paddr); None if no segment holds it."""
        return next((one.phys + virt - one.virt for one in self._segments if one.virt <= virt < one.virt + one.filesz), None)

    def contents(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield number, address and bytes of each segment. UnusableInput if the file is cut, or they are too many."""
        left = limits.ELF_SEGMENT_BYTES
        for each in self._segments:
            if each.offset + each.filesz > len(self._elf.data):
                raise UnusableInput(f"{self.path}: cut short: a segment lies beyond its end")
            left -= each.filesz
            if left < 0:
                raise UnusableInput(f"{self.path}: its segments have over {limits.ELF_SEGMENT_BYTES >> 20} MiB: no more are read")
            yield each.number, each.virt, bytes(self._elf.data[each.offset : each.offset + each.filesz])

    def symbol(self, address: int) -> str | None:
        """Return the last symbol at or before ``address`` that holds it, as ``name+0x12``; None if none does.
        """
        found = self._symbols.at(address) if self._symbols is not None else None
        if found is None:
            return None
        plain = demangled(found[0])
        return plain if address == found[1] else f"{plain}+{address - found[1]:#x}"

    @cached_property
    def _symbols(self) -> ElfSymbols | None:
        try:
            return ElfSymbols(self._elf)
        except LeftOut as error:
            self.left_out["symbols"] = str(error)
        return None

    @cached_property
    def _segments(self) -> list[Segment]:
        programs = self._elf.head.programs
        loads = programs[programs["type"] == LOAD]
        columns = (integers(loads[name]) for name in ("virt", "filesz", "memsz", "offset", "flags", "phys"))
        return [Segment(number, *row) for number, row in enumerate(zip(*columns, strict=True))]

    def line(self, address: int) -> SourceLine | None:
        """Return the line of the instruction that holds ``address``; None if DWARF does not say."""
        if "lines of code" in self.left_out:
            return None
        try:
            return self._lines.line(address) if self._lines is not None else None
        except LeftOut as error:
            self.left_out["lines of code"] = str(error)
        except (IndexError, struct.error) as error:
            raise UnusableInput(f"{self.path}: damaged debug information: {error}") from error
        return None

    @cached_property
    def _elf(self) -> ElfSections:
        return ElfSections(self.path)

    def _notes(self) -> Iterator[bytes]:
        try:
            for section in self._elf.of_kind(_NOTES):
                yield self._elf.contents(section, limits.ELF_NOTE_BYTES)
        except LeftOut as error:
            raise UnusableInput(f"{self.path}: damaged ELF notes: {error}") from error

    @cached_property
    def _lines(self) -> _Lines | None:
        return _Lines(self._elf) if self._elf.has_debug("info") else None


class _Lines:
    """Line programs, each decoded when an address of its unit is asked for."""

    def __init__(self, elf: ElfSections) -> None:
        self._sections: dict[str, bytes] = {}
        left = limits.DWARF_BYTES
        for name in _DEBUG:
            data = elf.debug(name, left) if elf.has_debug(name) else None
            if data is not None:
                self._sections[name] = data
                left -= len(data)
        self._aranges = self._sections.pop(_RANGES, None)
        self._units = Units(self._sections)
        self._programs: dict[int, Program] = {}
        self._left = limits.DWARF_LINE_BYTES

    def line(self, address: int) -> SourceLine | None:
        """Return the line of the first unit that has the address; None if none has."""
        for unit in self._units_of(address):
            program = self._program(unit)
            if program is None:
                continue
            at = bisect.bisect_right(program.rows, address, key=lambda row: row[0]) - 1
            if at >= 0 and address <= program.rows[at][1]:
                _, _, file, number = program.rows[at]
                return _named(program, unit, file, number)
        return None

    def _units_of(self, address: int) -> Iterator[Unit]:
        """The unit that .debug_aranges names; those that may have it where a compiler wrote no such section."""
        if self._aranges is None:
            yield from (unit for unit in self._units.all() if unit.may_have(address))
            return
        place = unit_with(self._aranges, address)
        if place is not None:
            yield self._units.at(place)

    def _program(self, unit: Unit) -> Program | None:
        if unit.lines_at is None or "line" not in self._sections:
            return None
        if unit.lines_at not in self._programs:
            found, cost = read_program(self._sections, unit.lines_at, unit.address_bytes, self._left)
            self._programs[unit.lines_at] = found
            self._left -= cost
        return self._programs[unit.lines_at]


def _named(program: Program, unit: Unit, file: int, number: int) -> SourceLine:
    """The line with the path of its file, relative to the directory in which it was compiled. IndexError if it has none."""
    compiled_in = _text(unit.compiled_in)
    # Before DWARF 5 both lists count from 1 and directory 0 is the compilation's own.
    first = 0 if program.version >= 5 else 1
    if file < first:
        raise IndexError(f"file {file} of a unit")
    path, folder = program.files[file - first]
    name = _text(path)
    if first == 0 or folder > 0:
        name = posixpath.join(_text(program.folders[folder - first]), name)
    name = posixpath.normpath(name)
    inside = compiled_in.rstrip("/") + "/"
    return SourceLine(name[len(inside) :] if name.startswith(inside) else name, number, compiled_in)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
