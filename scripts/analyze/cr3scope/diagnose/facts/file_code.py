"""The code of the user's files at the addresses where it should be in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.elf_twin import ElfTwin


@dataclass(frozen=True, slots=True)
class Piece:
    """An executable segment as the file has it. ``start``: virtual address; ``phys``: the physical one that the file names for it."""

    path: Path
    start: int
    code: bytes
    phys: int | None = None  # not known of what was loaded elsewhere than it was linked

    def holds(self, virt: int) -> bool:
        """Return whether the address lies in this piece."""
        return self.start <= virt < self.start + len(self.code)

    def before(self, virt: int, count: int) -> bytes:
        """Return the bytes that end at an address; fewer at the beginning."""
        end = virt - self.start
        return self.code[max(end - count, 0) : end]


def file_code(files: Sequence[ElfFile], bases: Mapping[Path, int]) -> Iterator[Piece]:
    """Yield the executable segments of every file whose load address is known; ``bases`` has that of
    relocatable ones.

    UnusableInput if a file is damaged.
    """
    for file in files:
        twin = ElfTwin(file.path)
        base = bases.get(file.path, file.base)
        if base is None and twin.is_relocatable:
            continue
        shift = 0 if base is None else base - twin.counts_from
        for start, code in twin.code():
            yield Piece(file.path, start + shift, code, None if shift else twin.phys_of(start))
