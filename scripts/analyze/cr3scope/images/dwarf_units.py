"""The units of ``.debug_info``: which of them has an address, and where its line program lies (DWARF 5, 7.5).

Of each unit only the first entry is read. Nothing is read beyond a budget: a unit may name one abbreviation table
after another, each longer than the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.images.dwarf_lines import LINE_STRP, STRING, STRP, Cursor
from cr3scope.images.elf_sections import LeftOut
from cr3scope.x86.word import MASK64

_STMT_LIST, _COMP_DIR, _LOW_PC, _HIGH_PC, _RANGES, _STR_OFFSETS = 0x10, 0x1B, 0x11, 0x12, 0x55, 0x72  # DW_AT_*
_ADDRESS, _INDIRECT, _IMPLICIT = 0x01, 0x16, 0x21  # DW_FORM_*
_SIZES = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x20: 8, 0x19: 0,
          0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4}  # fmt: skip
_OFFSETS = (STRP, LINE_STRP, 0x17, 0x10, 0x1D, 0x1C)  # as wide as offsets are
_NUMBERS = (0x0F, 0x0D, 0x15, 0x1A, 0x1B, 0x22, 0x23)  # LEB128
_BLOCKS = {0x0A: 1, 0x03: 2, 0x04: 4}  # by the width of their length
_LONG_BLOCKS = (0x09, 0x18)
_INDEXED = (0x1A, 0x25, 0x26, 0x27, 0x28)  # a string by its number: strx, strx1 ..
_WITH_ID, _TYPES = (4, 5), (2, 6)  # DW_UT_*, whose head has an identity; those of types a place too


@dataclass(frozen=True, slots=True)
class Unit:
    """Where a unit's line program lies, where it was compiled, and its addresses if they are one piece."""

    lines_at: int | None
    compiled_in: bytes
    first: int | None
    end: int | None
    address_bytes: int

    def may_have(self, address: int) -> bool:
        """Return whether the unit may have code there: one in several pieces may."""
        return self.first is None or self.end is None or self.first <= address < self.end


class Units:
    """Reads units one after the other. LeftOut past a budget; IndexError where the sections are cut."""

    def __init__(self, sections: Mapping[str, bytes]) -> None:
        self._sections = sections
        self._known: dict[int, Unit] = {}
        self._forms: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        self._scanned = 0

    def all(self) -> Iterator[Unit]:
        """Yield every unit, in the order of the file."""
        info = self._sections["info"]
        at = count = 0
        while at < len(info):
            count += 1
            if count > limits.DWARF_UNITS:
                raise LeftOut(f"there are over {limits.DWARF_UNITS} units, and no .debug_aranges says which has an address")
            yield self.at(at)
            head = Cursor(info, at)
            length, _ = head.length()
            at = head.at + length

    def at(self, place: int) -> Unit:
        """Return the unit at a place of ``.debug_info``."""
        if place not in self._known:
            self._known[place] = self._read(place)
        return self._known[place]

    def _read(self, place: int) -> Unit:
        head = Cursor(self._sections["info"], place)
        length, offset_bytes = head.length()
        if head.at + length > head.end:
            raise IndexError(f"the unit at {place:#x} reaches beyond its section")
        head.end = head.at + length
        version = head.number(2)
        if version >= 5:
            kind, address_bytes, table = head.number(1), head.number(1), head.number(offset_bytes)
            head.at += 8 if kind in _WITH_ID else 8 + offset_bytes if kind in _TYPES else 0
        else:
            table, address_bytes = head.number(offset_bytes), head.number(1)
        code = head.leb()
        found: dict[int, tuple[int, int]] = {}
        texts: dict[int, bytes] = {}
        for attribute, form, implicit in self._abbreviation(table, code) if code else ():
            value = self._value(head, form, implicit, offset_bytes, address_bytes, version)
            if isinstance(value, bytes):
                texts[attribute] = value
            else:
                found[attribute] = value, form
        low, high = found.get(_LOW_PC), found.get(_HIGH_PC)
        first = low[0] if low and low[1] == _ADDRESS and high and _RANGES not in found else None
        end = None if first is None or high is None else high[0] if high[1] == _ADDRESS else first + high[0]
        lines, folder = found.get(_STMT_LIST), found.get(_COMP_DIR)
        if folder is not None and folder[1] in _INDEXED:
            base = found.get(_STR_OFFSETS, (8 if offset_bytes == 4 else 16, 0))[0]
            texts[_COMP_DIR] = self._indexed(base + folder[0] * offset_bytes, offset_bytes)
        return Unit(lines[0] if lines else None, texts.get(_COMP_DIR, b""), first, end, address_bytes)

    def _abbreviation(self, table: int, code: int) -> list[tuple[int, int, int]]:
        """The attributes of an abbreviation: name, form, and value where the form has it here."""
        if (table, code) not in self._forms:
            cursor = Cursor(self._sections.get("abbrev", b""), table)
            while True:
                own = cursor.leb()
                if not own:
                    raise IndexError(f"the abbreviation {code} of the table at {table:#x} is missing")
                cursor.leb()
                cursor.number(1)
                forms = list(_forms(cursor))
                if cursor.at - table > limits.DWARF_ABBREVIATION_BYTES - self._scanned:
                    raise LeftOut(f"abbreviations of over {limits.DWARF_ABBREVIATION_BYTES} bytes are searched")
                if own == code:
                    break
            self._scanned += cursor.at - table
            self._forms[table, code] = forms
        return self._forms[table, code]

    def _value(
        self, head: Cursor, form: int, implicit: int, offset_bytes: int, address_bytes: int, version: int
    ) -> int | bytes:
        """An attribute's value: a number, or a string; of what nobody asks for its size counts."""
        if form == _INDIRECT:
            form = head.leb()
        if form == _IMPLICIT:
            return implicit
        if form == STRING:
            return head.text()
        if form == _ADDRESS:
            return head.number(address_bytes)
        if form in (STRP, LINE_STRP):
            name = "str" if form == STRP else "line_str"
            return Cursor(self._sections.get(name, b""), head.number(offset_bytes)).text()
        if form in _OFFSETS:
            return head.number(address_bytes if form == 0x10 and version <= 2 else offset_bytes)
        if form in _NUMBERS:
            return head.leb()
        if form in _BLOCKS or form in _LONG_BLOCKS:
            size = head.leb() if form in _LONG_BLOCKS else head.number(_BLOCKS[form])
            head.at += size
            return 0
        if form not in _SIZES:
            raise LeftOut(f"an attribute of a unit is of form {form:#x}, which is not known")
        return head.number(_SIZES[form])

    def _indexed(self, at: int, offset_bytes: int) -> bytes:
        """A string of which a table holds the place."""
        place = Cursor(self._sections.get("str_offsets", b""), at).number(offset_bytes)
        return Cursor(self._sections.get("str", b""), place).text()


def _forms(cursor: Cursor) -> Iterator[tuple[int, int, int]]:
    while True:
        attribute, form = cursor.leb(), cursor.leb()
        if not attribute and not form:
            return
        yield attribute, form, cursor.leb() if form == _IMPLICIT else 0


def unit_with(aranges: bytes, address: int) -> int | None:
    """Return the place of the unit that ``.debug_aranges`` names for an address; None if it names none."""
    if not 0 <= address <= MASK64:
        return None
    at = 0
    while at < len(aranges):
        head = Cursor(aranges, at)
        length, offset_bytes = head.length()
        end = head.at + length
        head.number(2)
        unit, width, segment = head.number(offset_bytes), head.number(1), head.number(1)
        if end > len(aranges) or width not in (4, 8) or segment:
            raise IndexError(f"the ranges at {at:#x} make no sense")
        start = head.at + -(head.at - at) % (2 * width)
        rows = np.frombuffer(aranges, f"<u{width}", max(end - start, 0) // width // 2 * 2, min(start, end)).reshape(-1, 2)
        first, size = rows[:, 0].astype(np.uint64), rows[:, 1].astype(np.uint64)
        if ((first <= np.uint64(address)) & (np.uint64(address) - first < size)).any():
            return unit
        at = end
    return None
