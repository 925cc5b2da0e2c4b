"""An ELF file that an image was made from: its build id, symbols and lines (DWARF).

Nothing is read before the first question is asked, and then only the compilation units that hold
the addresses in question: most captures have nothing to attribute, and a verdict must be quick.
"""

from __future__ import annotations

import bisect
import mmap
import posixpath
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from cr3scope.errors import UnusableInput
from cr3scope.images.demangle import demangled
from cr3scope.images.kernel_notes import DeclaredAccess, declared_accesses
from cr3scope.images.source_text import SourceLine
from cr3scope.input.sources.elf_head import MAGIC

PF_X, PF_W = 1, 2  # flags of a segment


class Segment(NamedTuple):
    """What a file wants in memory: ``memsz`` bytes from ``virt`` on, of which ``filesz`` come from the file."""

    number: int
    virt: int
    filesz: int
    memsz: int
    offset: int
    flags: int


class _Symbol(NamedTuple):
    """Of several at one address the last in order counts: a function or what other files may name hides a mere mark."""

    start: int
    is_function: bool
    is_global: bool
    size: int
    name: str


class ElfTwin:
    """One ELF file that an image was made from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._units: dict[int, _UnitLines] = {}

    def check(self) -> None:
        """Raise UnusableInput if this is no ELF file, even when no address is ever looked up."""
        try:
            with self.path.open("rb") as file:
                magic = file.read(len(MAGIC))
        except OSError as error:
            raise UnusableInput(f"{self.path}: {error.strerror}") from error
        if magic != MAGIC:
            raise UnusableInput(f"{self.path}: not an ELF file")

    @cached_property
    def build_id(self) -> str | None:
        """Return the GNU build id as hex digits; None if the file has none."""
        from elftools.elf.sections import NoteSection

        elf = self._elf
        try:
            for section in elf.iter_sections():
                if isinstance(section, NoteSection):
                    for note in section.iter_notes():
                        if note["n_type"] == "NT_GNU_BUILD_ID":
                            return str(note["n_desc"])
        except Exception as error:  # pyelftools raises whatever a damaged file makes it trip over
            raise UnusableInput(f"{self.path}: damaged ELF notes: {error}") from error
        return None

    @cached_property
    def is_relocatable(self) -> bool:
        """Return whether it may lie anywhere: a PIE, or the shared object that a PE was made from."""
        return bool(self._elf.header["e_type"] == "ET_DYN")

    @cached_property
    def counts_from(self) -> int:
        """Return the address in the file that lies at the base of the loaded image."""
        if self.is_relocatable:
            return 0
        return min((start for start, _, _ in self._segments), default=0)

    def holds(self, address: int) -> bool:
        """Return whether a segment has this address, as the file counts."""
        return any(start <= address < end for start, end, _ in self._segments)

    @cached_property
    def entry(self) -> int:
        """Return the address at which the file wants to be entered."""
        return int(self._elf.header["e_entry"])

    def segments(self) -> Iterator[Segment]:
        """Yield what is loaded, in the order of the file."""
        for number, (start, end, segment) in enumerate(self._segments):
            yield Segment(number, start, segment["p_filesz"], end - start, segment["p_offset"], segment["p_flags"])

    def declared_accesses(self) -> tuple[DeclaredAccess, ...]:
        """Return the accesses that the file declares in notes."""
        from elftools.elf.sections import NoteSection

        if not self._elf.header["e_shnum"]:
            return ()
        try:
            notes = [each.data() for each in self._elf.iter_sections() if isinstance(each, NoteSection)]
        except Exception as error:
            raise UnusableInput(f"{self.path}: damaged ELF notes: {error}") from error
        return tuple(access for data in notes for access in declared_accesses(data))

    def code(self) -> Iterator[tuple[int, bytes]]:
        """Yield the segments that can be executed: address in the file, bytes. UnusableInput if the file is cut."""
        for number, start, data in self.contents():
            if self._segments[number][2]["p_flags"] & PF_X:
                yield start, data

    def contents(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield number, address and bytes of each segment. UnusableInput if the file is cut."""
        for number, (start, _, segment) in enumerate(self._segments):
            try:
                data: bytes = segment.data()
            except Exception as error:
                raise UnusableInput(f"{self.path}: damaged segment: {error}") from error
            if len(data) < segment["p_filesz"]:
                raise UnusableInput(f"{self.path}: cut short: a segment lies beyond its end")
            yield number, start, data

    def symbol(self, address: int) -> str | None:
        """Return the last symbol at or before ``address`` that holds it, as ``name+0x12``; None if none does.
        """
        starts = self._symbols
        at = bisect.bisect_right(starts, address, key=lambda each: each.start) - 1
        if at < 0:
            return None
        found = starts[at]
        # Labels of assembly code have no size: they reach to the next symbol.
        if found.size and address >= found.start + found.size:
            return None
        plain = demangled(found.name)
        return plain if address == found.start else f"{plain}+{address - found.start:#x}"

    @cached_property
    def _symbols(self) -> list[_Symbol]:
        from elftools.elf.sections import SymbolTableSection

        wanted = {"STT_FUNC", "STT_OBJECT", "STT_NOTYPE"}
        found = []
        elf = self._elf
        try:
            for section in elf.iter_sections():
                if isinstance(section, SymbolTableSection):
                    for each in section.iter_symbols():
                        defined = each["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS")
                        if each.name and defined and each["st_info"]["type"] in wanted:
                            found.append(_Symbol(each["st_value"], each["st_info"]["type"] == "STT_FUNC",
                                                 each["st_info"]["bind"] == "STB_GLOBAL", each["st_size"], each.name))
        except Exception as error:
            raise UnusableInput(f"{self.path}: damaged symbol table: {error}") from error
        return sorted(found)

    @cached_property
    def _segments(self) -> list[tuple[int, int, Any]]:
        """Address, end and header of what is loaded."""
        elf = self._elf
        try:
            return [
                (each["p_vaddr"], each["p_vaddr"] + each["p_memsz"], each)
                for each in elf.iter_segments()
                if each["p_type"] == "PT_LOAD"
            ]
        except Exception as error:
            raise UnusableInput(f"{self.path}: damaged program headers: {error}") from error

    def line(self, address: int) -> SourceLine | None:
        """Return the line of the instruction that holds ``address``; None if DWARF does not say."""
        try:
            for unit in self._units_of(address):
                found = self._lines(unit).line(address)
                if found:
                    return found
        except Exception as error:
            raise UnusableInput(f"{self.path}: damaged debug information: {error}") from error
        return None

    @cached_property
    def _elf(self) -> Any:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        try:
            with self.path.open("rb") as file:
                # Mapped, not read: a kernel with debug information may have hundreds of megabytes.
                return ELFFile(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise UnusableInput(f"{self.path}: {error.strerror}") from error
        except ELFError as error:
            raise UnusableInput(f"{self.path}: not an ELF file: {error}") from error
        except Exception as error:  # a header that points beyond the end of the file, for one
            raise UnusableInput(f"{self.path}: damaged ELF file: {error}") from error

    @cached_property
    def _dwarf(self) -> Any:
        return self._elf.get_dwarf_info() if self._elf.has_dwarf_info() else None

    @cached_property
    def _ranges(self) -> Any:
        return self._dwarf.get_aranges()

    def _units_of(self, address: int) -> list[Any]:
        """The unit that .debug_aranges names; every unit where a compiler wrote no such section."""
        if self._dwarf is None:
            return []
        if self._ranges is None:
            return list(self._dwarf.iter_CUs())
        offset = self._ranges.cu_offset_at_addr(address)
        return [] if offset is None else [self._dwarf.get_CU_at(offset)]

    def _lines(self, unit: Any) -> _UnitLines:
        if unit.cu_offset not in self._units:
            _teach_checksums(unit.structs)
            self._units[unit.cu_offset] = _UnitLines(self._dwarf, unit)
        return self._units[unit.cu_offset]


class _UnitLines:
    """The line table of one compilation unit, sorted by address."""

    def __init__(self, dwarf: Any, unit: Any) -> None:
        self._rows: list[tuple[int, int, int, int]] = []  # first address, last address, file, line
        self._files: _FileNames | None = None
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            return
        self._files = _FileNames(program, unit)
        previous = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if previous is not None and state.address > previous.address:
                self._rows.append((previous.address, state.address - 1, previous.file, previous.line))
            previous = None if state.end_sequence else state
        self._rows.sort()

    def line(self, address: int) -> SourceLine | None:
        at = bisect.bisect_right(self._rows, address, key=lambda row: row[0]) - 1
        if at < 0 or self._files is None or address > self._rows[at][1]:
            return None
        _, _, file, number = self._rows[at]
        return SourceLine(self._files.path(file), number, self._files.compiled_in)


class _FileNames:
    """Paths of a unit's files, relative to the directory in which it was compiled."""

    def __init__(self, program: Any, unit: Any) -> None:
        header = program.header
        top = unit.get_top_DIE().attributes
        self.compiled_in = _text(top["DW_AT_comp_dir"].value) if "DW_AT_comp_dir" in top else ""
        self._files = header["file_entry"]
        self._directories = [_text(name) for name in header["include_directory"]]
        # Before DWARF 5 both lists count from 1 and directory 0 is the compilation's own.
        self._first = 0 if header["version"] >= 5 else 1

    def path(self, file: int) -> str:
        entry = self._files[file - self._first]
        name, directory = _text(entry.name), entry.dir_index
        if self._first == 0 or directory > 0:
            name = posixpath.join(self._directories[directory - self._first], name)
        name = posixpath.normpath(name)
        inside = self.compiled_in.rstrip("/") + "/"
        return name[len(inside) :] if name.startswith(inside) else name


def _teach_checksums(structs: Any) -> None:
    """clang's DWARF 5 file tables carry MD5 sums in a form that pyelftools before 0.30 lacks."""
    from elftools.construct import StaticField

    structs.Dwarf_dw_form.setdefault("DW_FORM_data16", StaticField("", 16))


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
