"""An ELF file that claims what no file holds: one line, or no lines of code and a note why; soon, and in little memory."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.symbols import Symbols

SECONDS = 4  # twice the budget: other machines are slower
AT = 0x1000  # where the only segment lies
PROGBITS, SYMBOLS, STRINGS, DYNAMIC, NOTES = 1, 2, 3, 6, 7
COMPRESSED = 1 << 11
Sections = Mapping[str, tuple[int, bytes]]
# Abbreviation 1: a unit with DW_AT_stmt_list, low_pc and high_pc.
ABBREVIATIONS = bytes([1, 0x11, 0, 0x10, 0x17, 0x11, 0x01, 0x12, 0x07, 0, 0, 0])


def unit(first: int, size: int, lines_at: int = 0, table: int = 0) -> bytes:
    entry = struct.pack("<BIQQ", 1, lines_at, first, size)
    return struct.pack("<IHIB", 7 + len(entry), 4, table, 8) + entry


def program(body: bytes, length: int | None = None) -> bytes:
    """A line program of DWARF 4 with one file, ``a.c``."""
    tables = bytes([1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1]) + b"\0" + b"a.c\0\0\0\0" + b"\0"
    rest = struct.pack("<HI", 4, len(tables)) + tables + body
    return struct.pack("<I", len(rest) if length is None else length) + rest


LINES = bytes([0, 9, 2]) + struct.pack("<Q", AT) + bytes([3, 6, 1, 2, 16, 0, 1, 1])  # line 7 of 16 bytes
GOOD: Sections = {
    ".debug_info": (PROGBITS, unit(AT, 16)), ".debug_abbrev": (PROGBITS, ABBREVIATIONS), ".debug_line": (PROGBITS, program(LINES)),
}  # fmt: skip


def write(path: Path, sections: Sections, flags: Mapping[str, int] = {}, sizes: Mapping[str, int] = {}) -> Path:
    """An executable of one page with these sections; ``sizes``: what a header says instead."""
    names, at, data, heads = b"\0", 64 + 56, bytes(16), bytes(64)
    for number, (name, (kind, content)) in enumerate({**sections, ".shstrtab": (STRINGS, b"")}.items(), 1):
        own, names = len(names), names + name.encode() + b"\0"
        content = names if kind == STRINGS and not content else content
        link = number + 1 if kind == SYMBOLS else 0
        heads += struct.pack("<IIQQQQIIQQ", own, kind, flags.get(name, 0), 0, at + len(data), sizes.get(name, len(content)), link, 0, 0, 0)
        data += content
    count = len(sections) + 2
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, AT, 64, at + len(data), 0, 64, 56, 1, 64, count, count - 1)
    path.write_bytes(head + struct.pack("<IIQQQQQQ", 1, 5, at, AT, AT, 16, 16, 1) + data + heads)
    return path


def asked(path: Path) -> ElfTwin:
    """The file, of which everything was asked within the time."""
    began = time.process_time()
    twin = ElfTwin(path)
    _ = (twin.build_id, twin.declared_accesses(), list(twin.code()), twin.symbol(AT), twin.line(AT))
    assert time.process_time() - began < SECONDS
    return twin


def test_a_line_is_told_where_nothing_is_hostile(tmp_path: Path) -> None:
    """What the files below are made of works."""
    twin = asked(write(tmp_path / "k.elf", GOOD))
    assert str(twin.line(AT + 15)) == "a.c:7" and twin.line(AT + 16) is None and not twin.left_out


def many_units(count: int) -> Sections:
    return {**GOOD, ".debug_info": (PROGBITS, unit(AT + 0x1000, 16) * count)}


def test_5000_units_without_ranges_are_searched_within_the_time(tmp_path: Path) -> None:
    info = unit(AT + 0x1000, 16) * 5000 + unit(AT, 16)
    twin = asked(write(tmp_path / "k.elf", {**GOOD, ".debug_info": (PROGBITS, info)}))
    assert str(twin.line(AT)) == "a.c:7"


def left_out() -> Iterator[tuple[str, Sections, Mapping[str, int], Mapping[str, int], str]]:
    """Name, sections, their flags and sizes, and what is said of them."""
    packed = struct.pack("<IIQQ", 1, 0, 6 << 30, 1) + zlib.compress(bytes(1 << 20))
    yield "a bomb", {**GOOD, ".debug_info": (PROGBITS, packed)}, {".debug_info": COMPRESSED}, {}, "unpacks to 6442450944 bytes"
    zstd = struct.pack("<IIQQ", 2, 0, 64, 1) + bytes(64)
    yield "zstd", {**GOOD, ".debug_info": (PROGBITS, zstd)}, {".debug_info": COMPRESSED}, {}, "(type 2; 1 is zlib)"
    old = {**GOOD, ".zdebug_info": (PROGBITS, b"ZLIB" + (6 << 30).to_bytes(8, "big") + zlib.compress(bytes(1 << 20)))}
    del old[".debug_info"]
    yield "an old bomb", old, {}, {}, "unpacks to 6442450944 bytes"
    units = limits.DWARF_UNITS + 1
    yield "units", many_units(units), {}, {}, f"over {limits.DWARF_UNITS} units"
    table = b"".join(bytes([2, 0x11, 0, 0x10, 0x17, 0, 0]) for _ in range(20_000)) + ABBREVIATIONS
    info = b"".join(unit(AT + 0x1000, 16, table=7 * number) for number in range(100))
    yield "tables", {**GOOD, ".debug_info": (PROGBITS, info), ".debug_abbrev": (PROGBITS, table)}, {}, {}, "abbreviations"
    endless = program(LINES + bytes([1]) * limits.DWARF_LINE_BYTES)
    yield "lines", {**GOOD, ".debug_line": (PROGBITS, endless)}, {}, {}, "the line program at 0x0 has"


@pytest.mark.slow
@pytest.mark.parametrize(("sections", "flags", "sizes", "says"), [pytest.param(*row, id=name) for name, *row in left_out()])
def test_lines_past_a_budget_are_left_out_and_it_says_so(
    sections: Sections, flags: Mapping[str, int], sizes: Mapping[str, int], says: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "k.elf", sections, flags, sizes)
    assert says in asked(path).left_out["lines of code"]
    symbols = Symbols((), [ElfFile(path)])
    assert symbols.place("RIP", AT) is None
    (words,) = symbols.left_out()
    assert words.startswith(f"{path}: its lines of code are left out: ") and says in words


def refused() -> Iterator[tuple[str, Sections, Mapping[str, int], Mapping[str, int], str]]:
    """As above, of what cannot be used at all."""
    lie = struct.pack("<IIQQ", 1, 0, 100, 1) + zlib.compress(bytes(1 << 20))
    yield "more than claimed", {**GOOD, ".debug_info": (PROGBITS, lie)}, {".debug_info": COMPRESSED}, {}, "does not unpack to 100"
    yield "beyond", GOOD, {}, {".debug_info": 1 << 62}, "section 1 reaches beyond its end"
    yield "unit", {**GOOD, ".debug_info": (PROGBITS, b"\xf0\xff\xff\xff" + unit(AT, 16)[4:])}, {}, {}, "reaches beyond its section"
    yield "program", {**GOOD, ".debug_line": (PROGBITS, program(LINES, 0xFFFFFFF0))}, {}, {}, "reaches beyond its section"
    leb = {**GOOD, ".debug_line": (PROGBITS, program(bytes([2]) + b"\xff" * 1000))}
    yield "number", leb, {}, {}, "a number without end"
    names = struct.pack("<HBBI", 5, 8, 0, 40) + bytes([1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0])
    names += b"\xff" * 8 + b"\1"
    yield "names", {**GOOD, ".debug_line": (PROGBITS, struct.pack("<I", len(names)) + names)}, {}, {}, "names at byte"
    yield "abbreviation", {**GOOD, ".debug_abbrev": (PROGBITS, b"\0")}, {}, {}, "the abbreviation 1 of the table at 0x0 is missing"
    yield "note", {**GOOD, ".note": (NOTES, struct.pack("<III", 4, 0xFFFFFFF0, 3) + b"GNU\0")}, {}, {}, "damaged ELF notes"


@pytest.mark.parametrize(("sections", "flags", "sizes", "says"), [pytest.param(*row, id=name) for name, *row in refused()])
def test_what_leads_out_of_its_section_is_refused_by_name(
    sections: Sections, flags: Mapping[str, int], sizes: Mapping[str, int], says: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "k.elf", sections, flags, sizes)
    with pytest.raises(UnusableInput) as error:
        asked(path)
    assert str(error.value).startswith(f"{path}: ") and says in str(error.value)


@pytest.mark.parametrize(
    ("at", "form", "value", "says"),
    [
        (40, "Q", 1 << 63, "section headers at 0x8000000000000000 reach beyond"),
        (60, "H", 0xFFFF, "65535 section headers"),
        (58, "H", 8, "section headers of 8 bytes each, not 64"),
        (54, "H", 0, "program headers of 0 bytes each, not 56"),
        (62, "H", 0xFF00, "there is no section 65280"),
        (5, "B", 2, "of another byte order"),
    ],
)
def test_headers_that_lead_nowhere_are_refused(at: int, form: str, value: int, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "k.elf", GOOD)
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{form}", data, at, value)
    path.write_bytes(data)
    with pytest.raises(UnusableInput) as error:
        asked(path)
    assert says in str(error.value)


@pytest.mark.parametrize(("field", "at"), [("sections", 32), ("segments", 44)])
def test_a_count_in_section_0_is_compared_with_the_file(field: str, at: int, tmp_path: Path) -> None:
    path = write(tmp_path / "k.elf", GOOD)
    data = bytearray(path.read_bytes())
    (sections_at,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<H", data, 60 if field == "sections" else 56, 0 if field == "sections" else 0xFFFF)
    struct.pack_into("<Q" if field == "sections" else "<I", data, sections_at + at, 0xFFFFFFFF)
    path.write_bytes(data)
    with pytest.raises(UnusableInput, match="4294967295 (section|program) headers, of which at most"):
        asked(path)


def test_a_dynamic_section_of_2_to_the_63_bytes_is_not_followed(tmp_path: Path) -> None:
    twin = asked(write(tmp_path / "k.elf", {**GOOD, ".dynamic": (DYNAMIC, bytes(16))}, sizes={".dynamic": 1 << 63}))
    assert str(twin.line(AT)) == "a.c:7"


def symbol(name: int, value: int, size: int = 0, kind: int = 2) -> bytes:
    return struct.pack("<IBBHQQ", name, 16 | kind, 0, 1, value, size)


def test_10_million_symbols_are_left_out_and_it_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "k.elf", {**GOOD, ".symtab": (SYMBOLS, b""), ".strtab": (STRINGS, b"\0f\0")}, sizes={".symtab": 240_000_000})
    twin = asked(path)
    assert twin.symbol(AT) is None
    assert f"has 10000000 symbols: at most {limits.ELF_SYMBOLS} are read" in twin.left_out["symbols"]
    assert str(twin.line(AT)) == "a.c:7"


def test_a_million_symbols_cost_no_time_for_each(tmp_path: Path) -> None:
    table = symbol(1, AT, 16) + symbol(1, AT + 0x1000) * 1_000_000
    twin = asked(write(tmp_path / "k.elf", {**GOOD, ".symtab": (SYMBOLS, table), ".strtab": (STRINGS, b"\0start\0")}))
    assert twin.symbol(AT + 4) == "start+0x4"


@pytest.mark.parametrize("strings", [b"\0" + b"x" * 100_000, b"\0"])
def test_a_name_without_an_end_or_outside_the_table_is_bounded(strings: bytes, tmp_path: Path) -> None:
    twin = asked(write(tmp_path / "k.elf", {**GOOD, ".symtab": (SYMBOLS, symbol(1, AT)), ".strtab": (STRINGS, strings)}))
    assert len(twin.symbol(AT) or "") == (limits.ELF_SYMBOL_NAME if len(strings) > 1 else 0)


def test_of_aliases_the_function_and_then_the_last_by_name_counts(tmp_path: Path) -> None:
    table = symbol(3, AT) + symbol(1, AT) + symbol(5, AT, kind=0) + symbol(3, AT + 8, kind=4)
    twin = asked(write(tmp_path / "k.elf", {**GOOD, ".symtab": (SYMBOLS, table), ".strtab": (STRINGS, b"\0a\0b\0c\0")}))
    assert twin.symbol(AT) == "b" and twin.symbol(AT + 9) == "b+0x9"


def test_the_verdict_says_what_of_a_file_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path(__file__).resolve().parents[1] / "captures/qemu-7.2.stack-unmapped.interrupts.log"
    packed = struct.pack("<IIQQ", 1, 0, 6 << 30, 1)
    path = write(tmp_path / "k.elf", {**GOOD, ".debug_info": (PROGBITS, packed)}, {".debug_info": COMPRESSED})
    data = bytearray(path.read_bytes())
    struct.pack_into("<QQQQ", data, 64 + 16, 0xDF90000, 0, 16, 0x10000)  # which holds the RIP of the log
    path.write_bytes(data)
    assert main(["triage", str(log), "--elf", str(path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "k.elf: its lines of code are left out: section 1 unpacks to 6442450944 bytes" in said
