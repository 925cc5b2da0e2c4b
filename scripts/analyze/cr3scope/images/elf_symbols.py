"""The symbol tables of an ELF file, as columns: a kernel may have a million symbols, and one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cr3scope import limits
from cr3scope.arrays import integers
from cr3scope.images.elf_sections import ElfSections, LeftOut, Section
from cr3scope.x86.word import MASK64

_TABLES = (2, 11)  # sh_type: SHT_SYMTAB, SHT_DYNSYM
_NO_TYPE, _FUNCTION = 0, 2
_MOST_TYPE = 2  # with objects in between; others are names of files, sections, or of one thread
_GLOBAL = 1
_UNDEFINED, _ABSOLUTE = 0, 0xFFF1
_ALIASES = 256  # of one symbol, among which the last by name is chosen
_ROWS = {
    32: np.dtype([("name", "<u4"), ("value", "<u4"), ("size", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2")]),
    64: np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]),
}  # fmt: skip


class ElfSymbols:
    """What is at an address. LeftOut from whoever asks first, if there are too many symbols."""

    def __init__(self, sections: ElfSections) -> None:
        self._names: list[bytes] = []
        columns: list[tuple[Any, ...]] = []
        left = limits.ELF_SYMBOLS
        for table in sorted(section for kind in _TABLES for section in sections.of_kind(kind)):
            rows, names = _rows(sections, table, left)
            left -= len(rows)
            kind, is_global = rows["info"] & 15, rows["info"] >> 4 == _GLOBAL
            text = np.frombuffer(names + b"\0", np.uint8)
            is_named = text[np.minimum(rows["name"], len(names))] != 0
            kept = (kind <= _MOST_TYPE) & is_named & (rows["section"] != _UNDEFINED) & (rows["section"] != _ABSOLUTE)
            file = np.full(int(kept.sum()), len(self._names))
            self._names.append(names)
            columns.append((rows["value"][kept].astype(np.uint64), (kind == _FUNCTION)[kept], is_global[kept],
                            rows["size"][kept].astype(np.uint64), rows["name"][kept], file))  # fmt: skip
        joined = [np.concatenate(column) for column in zip(*columns)] if columns else [np.empty(0, np.uint64)] * 6
        # Of several at one address the last in order counts: a function or what other files may name hides a mere mark.
        order = np.lexsort(joined[3::-1])
        self._starts, self._functions, self._globals, self._sizes, self._name, self._file = (each[order] for each in joined)

    def at(self, address: int) -> tuple[str, int] | None:
        """Return name and start of the last symbol at or before ``address`` that holds it; None if none does."""
        if not 0 <= address <= MASK64:  # of a segment that reaches beyond the address space
            return None
        row = int(np.searchsorted(self._starts, np.uint64(address), side="right")) - 1
        if row < 0:
            return None
        start, size = int(self._starts[row]), int(self._sizes[row])
        # Labels of assembly code have no size: they reach to the next symbol.
        if size and address >= start + size:
            return None
        key = [column[row] for column in (self._starts, self._functions, self._globals, self._sizes)]
        alike = range(max(row - _ALIASES, 0), row + 1)
        names = [self._text(each) for each in alike if key == [
            column[each] for column in (self._starts, self._functions, self._globals, self._sizes)
        ]]  # fmt: skip
        return max(names), start

    def functions(self) -> list[tuple[int, int]]:
        """Return start and size of every function that has a size, each place once, in order."""
        if not len(self._starts):
            return []
        sized = (self._functions != 0) & (self._sizes > 0)
        return sorted(dict(zip(integers(self._starts[sized]), integers(self._sizes[sized]), strict=True)).items())

    def _text(self, row: int) -> str:
        names, at = self._names[int(self._file[row])], int(self._name[row])
        end = names.find(b"\0", at, at + limits.ELF_SYMBOL_NAME)
        return names[at : end if end >= 0 else at + limits.ELF_SYMBOL_NAME].decode("utf-8", "replace")


def undefined(sections: ElfSections) -> Iterator[str]:
    """Yield the names that other files were to define: none that are weak, which may be absent. LeftOut as for the class."""
    for table in sorted(section for kind in _TABLES for section in sections.of_kind(kind)):
        rows, names = _rows(sections, table, limits.ELF_SYMBOLS)
        kept = (rows["section"] == _UNDEFINED) & (rows["info"] >> 4 == _GLOBAL) & (rows["info"] & 15 <= _MOST_TYPE)
        for at in rows["name"][kept & (rows["name"] > 0)]:
            end = names.find(b"\0", int(at), int(at) + limits.ELF_SYMBOL_NAME)
            if end > at:
                yield names[int(at) : end].decode("utf-8", "replace")


def _rows(sections: ElfSections, table: Section, left: int) -> tuple[Any, bytes]:
    """The rows of a symbol table, and the text of their names."""
    row = _ROWS[sections.head.bits]
    if table.size // row.itemsize > left:
        raise LeftOut(f"section {table.number} has {table.size // row.itemsize} symbols: at most {limits.ELF_SYMBOLS} are read")
    data = sections.contents(table, limits.ELF_SYMBOLS * row.itemsize)
    names = sections.contents(sections.number(table.link), limits.ELF_NAME_BYTES)
    return np.frombuffer(data, row, len(data) // row.itemsize), names
