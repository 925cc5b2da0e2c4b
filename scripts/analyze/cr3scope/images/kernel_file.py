"""An ELF file as a loader sees it: what is loaded where, where it is entered, and for which boot protocol it is made."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cr3scope import limits
from cr3scope.arrays import integers
from cr3scope.dataclass import dataclass
from cr3scope.elf.head import I386, LOAD, NOTE, SHARED, X86_64
from cr3scope.elf.notes import read_notes
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_sections import NO_BITS, ElfSections, LeftOut
from cr3scope.images.elf_symbols import ElfSymbols, undefined
from cr3scope.images.elf_twin import PF_W, PF_X, ElfTwin
from cr3scope.images.protocols.limine import Limine, find_limine
from cr3scope.images.protocols.multiboot import Multiboot, find_multiboot

PF_R = 4
_EXECUTABLE = 2  # e_type
_CODE, _ALLOCATED = 4, 2  # sh_flags
_XEN, _PVH_ENTRY = b"Xen", 18  # owner and type of the note that names a 32-bit entry
_TYPES = {1: "a relocatable object, which is not linked yet", 4: "a core of memory"}


class Load(NamedTuple):
    """One PT_LOAD; ``number`` counts them from 0."""

    number: int
    virt: int
    phys: int
    offset: int
    filesz: int
    memsz: int
    flags: int
    align: int

    @property
    def last(self) -> int:
        """Return the last virtual address."""
        return self.virt + max(self.memsz, 1) - 1

    @property
    def rights(self) -> str:
        """Return the rights that the file asks for, as ``r-x``."""
        return "".join(letter if self.flags & bit else "-" for letter, bit in (("r", PF_R), ("w", PF_W), ("x", PF_X)))


@dataclass(frozen=True)
class KernelFile:
    """An ELF file for x86. Sections with code are told by name, first address and size."""

    path: Path
    sections: ElfSections
    loads: tuple[Load, ...]
    multiboot: tuple[Multiboot, ...]
    limine: Limine | None
    code_sections: tuple[tuple[str, int, int], ...]

    @property
    def bits(self) -> int:
        """Return 32 or 64: the file's class, not the mode of the CPU that enters it."""
        return self.sections.head.bits

    @property
    def entry(self) -> int:
        """Return the entry as the file's header has it."""
        return self.sections.head.entry

    @property
    def is_relocatable(self) -> bool:
        """Return whether it may lie anywhere."""
        return self.sections.head.kind == SHARED

    @property
    def size(self) -> int:
        """Return how long the file is."""
        return len(self.sections.data)

    @cached_property
    def twin(self) -> ElfTwin:
        """Return the same file as a source of names and lines."""
        return ElfTwin(self.path)

    @cached_property
    def has_pvh_entry(self) -> bool:
        """Return whether a note names a 32-bit entry for virtual machines (Xen's PVH)."""
        rows = self.sections.head.programs
        rows = rows[rows["type"] == NOTE]
        for at, size in zip(integers(rows["offset"]), integers(rows["filesz"]), strict=True):
            try:
                notes = [(note.owner, note.kind) for note in read_notes(bytes(self.sections.data[at : at + min(size, limits.ELF_NOTE_BYTES)]))]
            except ValueError:
                continue
            if (_XEN, _PVH_ENTRY) in notes:
                return True
        return False

    @property
    def has_loader_of_its_own(self) -> bool:
        """Return whether whoever loads it enters it without paging, so that nobody acts on its segments' rights."""
        if self.limine is not None:
            return False
        return bool(self.multiboot) or self.has_pvh_entry or self.at_virt(self.entry) is None

    def at_virt(self, virt: int) -> Load | None:
        """Return the segment that holds a virtual address; None if none does."""
        return next((one for one in self.loads if one.virt <= virt < one.virt + one.memsz), None)

    def at_phys(self, phys: int) -> Load | None:
        """Return the segment that is loaded where the file's physical addresses name ``phys``; None if none is."""
        return next((one for one in self.loads if one.phys <= phys < one.phys + one.memsz), None)

    def bytes_at(self, virt: int, length: int) -> bytes:
        """Return what the file holds for a virtual address, at most ``length`` bytes; nothing where it holds none."""
        load = next((one for one in self.loads if one.virt <= virt < one.virt + one.filesz), None)
        if load is None:
            return b""
        at = load.offset + virt - load.virt
        return bytes(self.sections.data[at : at + min(length, load.virt + load.filesz - virt)])

    def code(self) -> Iterator[tuple[int, bytes]]:
        """Yield address and bytes of what can be executed: of sections with code, without any of segments.

        What lies beyond a budget is left out.
        """
        places = [(virt, size) for _, virt, size in self.code_sections] or [
            (one.virt, one.filesz) for one in self.loads if one.flags & PF_X]  # fmt: skip
        left = limits.ELF_SEGMENT_BYTES
        for virt, size in places:
            data = self.bytes_at(virt, min(size, left))
            left -= len(data)
            yield virt, data

    @cached_property
    def symbols(self) -> ElfSymbols | None:
        """Return the file's symbols; None if they are too many."""
        try:
            return ElfSymbols(self.sections)
        except LeftOut:
            return None

    @cached_property
    def undefined(self) -> tuple[str, ...]:
        """Return the names that no file has defined."""
        try:
            return tuple(dict.fromkeys(undefined(self.sections)))
        except LeftOut:
            return ()


def read_kernel(path: Path) -> KernelFile:
    """Return an ELF file that somebody may boot. UnusableInput if it is damaged, of another machine, or nothing that is booted."""
    sections = ElfSections(path)
    head = sections.head
    if head.machine not in (X86_64, I386):
        raise UnusableInput(f"{path}: an ELF file of another machine (e_machine {head.machine}), not of a PC")
    if head.kind not in (_EXECUTABLE, SHARED):
        raise UnusableInput(f"{path}: {_TYPES.get(head.kind, f'an ELF file of type {head.kind}')}: nothing that is booted")
    rows = head.programs[head.programs["type"] == LOAD]
    names = ("virt", "phys", "offset", "filesz", "memsz", "flags", "align")
    loads = tuple(Load(number, *row) for number, row in enumerate(zip(*(integers(rows[name]) for name in names), strict=True)))
    places = [(one.virt, one.offset, one.filesz) for one in loads]
    return KernelFile(path, sections, loads, find_multiboot(sections.data), find_limine(sections.data, places, _unloaded(sections)),
                      tuple(_code(sections)))  # fmt: skip


def _code(sections: ElfSections) -> Iterator[tuple[str, int, int]]:
    rows = sections.head.sections
    wanted = (rows["flags"] & (_CODE | _ALLOCATED) == _CODE | _ALLOCATED) & (rows["type"] != NO_BITS) & (rows["size"] > 0)
    for number in integers(wanted.nonzero()[0]):
        section = sections.number(number)
        yield sections.name_of(number), section.virt, section.size


def _unloaded(sections: ElfSections) -> list[tuple[int, int]]:
    """Offset and size of the sections that say that they take no memory: debug information, comments, names."""
    rows = sections.head.sections
    rows = rows[(rows["flags"] & _ALLOCATED == 0) & (rows["type"] != NO_BITS) & (rows["size"] > 0)]
    return list(zip(integers(rows["offset"]), integers(rows["size"]), strict=True))
