"""A core that claims what no machine has is refused by one line, soon; what it holds twice or leaves out is said."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from core_builder import core, cpu, memory

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.input.sources.core_note import OWN_NOTE, QEMU_NOTE, write_cpu
from cr3scope.elf.notes import packed_note
from cr3scope.input.sources.open import open_core_file
from cr3scope.target.core_cpu import stopped_cpu
from cr3scope.x86.platform import Platform

SECONDS = 4  # twice the budget: other machines are slower
LOAD, NOTE = 1, 4
Damage = Callable[[bytearray], bytearray]


def put(at: int, form: str, *values: int) -> Damage:
    def change(data: bytearray) -> bytearray:
        struct.pack_into(f"<{form}", data, at, *values)
        return data

    return change


def elf(*segments: tuple[int, int, int, int], data: bytes = b"", count: int | None = None, sections_at: int = 0) -> bytes:
    """A core: kind, place behind the headers, physical address and size of each segment."""
    at = 64 + 56 * len(segments)
    heads = b"".join(
        struct.pack("<IIQQQQQQ", kind, 0, at + offset, 0, phys, size, size, 0) for kind, offset, phys, size in segments
    )
    number = len(segments) if count is None else count
    return struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, sections_at, 0, 64, 56, number, 64, 0, 0) + heads + data


def refused(capsys: pytest.CaptureFixture[str], path: Path | str, *options: str, verb: str = "maps") -> str:
    """What is said of a file that cannot be used: one line on standard error, soon, and nothing else."""
    began = time.process_time()
    assert main([verb, str(path), *options]) == 2
    assert time.process_time() - began < SECONDS
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert "internal error" not in shown.err and str(path) in shown.err
    return shown.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"maxphyaddr": "100000000000"}, "maxphyaddr=100000000000: a CPU has 32 to 52 bits"),
        ({"maxphyaddr": "-40"}, "maxphyaddr=-40"),
        ({"maxphyaddr": "forty"}, "maxphyaddr=forty"),
        ({"maxphyaddr": "9" * 5000}, "maxphyaddr=9999"),
        ({"efer": "-1"}, "efer=-1: no number of 64 bits"),
        ({"efer": "0x1ffffffffffffffff"}, "efer=0x1ffff"),
        ({"efer": "1_0"}, "efer=1_0"),
        ({"shown_cr3": "where"}, "shown_cr3=where"),
        ({"platform": "abacus"}, "platform=abacus"),
        ({"ram": "0-9ffff,fffff-100000-1"}, "a range of RAM that is none: fffff-100000-1"),
        ({"ram": "9000-8000"}, "9000-8000"),
        ({"ram": ",".join(["0-1"] * (limits.CORE_RAM_RANGES + 1))}, f"at most {limits.CORE_RAM_RANGES}"),
        ({"x": "y" * limits.CORE_WORDS_BYTES}, f"at most {limits.CORE_WORDS_BYTES} are read"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["maps", "analyze"])
def test_a_word_with_a_value_that_no_machine_has_is_refused(
    verb: str, words: dict[str, str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(capsys, core(tmp_path, memory(), **words), verb=verb)


def test_the_version_of_qemu_survives_being_saved(tmp_path: Path) -> None:
    """Words are told apart by blanks, and its word has one."""
    platform = Platform((7, 2))
    path = core(tmp_path, memory(), platform=platform.word.replace(" ", "-"))
    assert stopped_cpu(open_core_file(path), path).platform == platform


@pytest.mark.parametrize("table", ["GDT", "IDT"])
def test_a_limit_of_over_16_bits_is_refused(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = cpu()
    one = type(one)(one.registers, {**one.segments, table: type(one.segments[table])(0, 0x1000, 0xFFFFFFFF)})
    says = refused(capsys, core(tmp_path, memory(), one), verb="analyze")
    assert f"CPU 0 cannot be read: the limit of its {table} is 0xffffffff: it has 16 bits" in says


def test_a_cpu_that_cannot_be_read_is_told_by_maps_and_refused_by_analyze(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the one that stands at the switch."""
    whole = write_cpu(cpu())
    notes = packed_note(QEMU_NOTE, whole) + packed_note(QEMU_NOTE, whole[:100])
    page = b"".join(memory().values())
    pages = [(LOAD, len(notes) + 4096 * n, phys, 4096) for n, phys in enumerate(memory())]
    path = tmp_path / "core"
    path.write_bytes(elf((NOTE, 0, 0, len(notes)), *pages, data=notes + page))
    assert main(["maps", str(path)]) == 0
    assert "the registers of CPU 1 cannot be read, and are left out: the note has 100 bytes, not 440" in capsys.readouterr().err
    assert "CPU 1 cannot be read" in refused(capsys, path, verb="analyze")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (put(5, "B", 2), "an ELF core of another byte order (EI_DATA 2)"),
        (put(4, "B", 7), "neither of 32 nor of 64 bits"),
        (put(32, "Q", 1 << 63), "program headers at 0x8000000000000000 reach beyond its end"),
        (put(54, "H", 8), "program headers of 8 bytes each, not 56"),
        (put(56, "H", 0xFFFE), "65534 program headers at 0x40 reach beyond its end"),
        (lambda data: data[:40], "its header is cut"),
    ],
)
def test_headers_that_lead_nowhere_are_refused(
    damage: Damage, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(core(tmp_path, memory()))
    path.write_bytes(damage(bytearray(path.read_bytes())))
    assert says in refused(capsys, path)


def test_a_count_of_2_to_the_32_that_section_0_tells_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "core"
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0, 0)
    path.write_bytes(elf((LOAD, 0, 0, 64), data=section, count=0xFFFF, sections_at=64 + 56))
    assert f"4294967295 program headers, of which at most {limits.ELF_SEGMENTS} are read" in refused(capsys, path)


def test_a_dynamic_section_of_2_to_the_63_bytes_is_nobodys_business_in_a_core(tmp_path: Path) -> None:
    path = Path(core(tmp_path, memory()))
    data = bytearray(path.read_bytes())
    section = struct.pack("<IIQQQQIIQQ", 0, 6, 0, 0, 0, 1 << 63, 0, 0, 0, 16)
    struct.pack_into("<Q", data, 40, len(data))
    struct.pack_into("<HHH", data, 58, 64, 1, 0)
    path.write_bytes(bytes(data) + section)
    assert main(["maps", str(path)]) == 0


@pytest.mark.parametrize(
    ("segments", "data", "says"),
    [
        # 65,534 segments, each the same notes
        ([(NOTE, 0, 0, 64)] * 0xFFFD, packed_note("X", bytes(4)) * 4, f"over {limits.CORE_NOTES} notes"),
        ([(NOTE, 0, 0, 1 << 16)] * 0xFFFD, bytes(1 << 16), "notes have over 128 MiB"),
        ([(NOTE, 0, 0, 40)], struct.pack("<III", 5, 0xFFFFFFF0, 0) + bytes(28), "byte 0x0 reaches beyond its end"),
        ([(NOTE, 0, 0, 40)], struct.pack("<III", 0xFFFFFFFF, 4, 0) + bytes(28), "byte 0x0 reaches beyond its end"),
    ],
    ids=["many", "large", "contents-cut", "owner-cut"],
)  # fmt: skip
def test_notes_without_number_or_end_are_refused(
    segments: list[tuple[int, int, int, int]], data: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "core"
    path.write_bytes(elf((LOAD, 0, 0, 64), *segments, data=data.ljust(64, b"\0")))
    assert says in refused(capsys, path, "--cr3", "0")


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ([b"efer=0xd00", b"efer=0x500"], "2 notes `cr3scope` that differ"),
        ([b"efer=0xd00 efer=0x500"], "it tells two values of efer"),
    ],
)
def test_notes_that_contradict_each_other_are_refused(
    notes: list[bytes], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = b"".join(packed_note(OWN_NOTE, note) for note in notes).ljust(4096, b"\0")
    path = tmp_path / "core"
    path.write_bytes(elf((LOAD, 0, 0, 4096), (NOTE, 0, 0, len(data)), data=data))
    assert says in refused(capsys, path, "--cr3", "0")


def test_memory_that_lies_in_the_file_twice_must_be_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "core"
    data = bytes(8192) + bytes(4095) + b"\1"
    path.write_bytes(elf((LOAD, 0, 0, 4096), (LOAD, 4096, 0, 8192), data=data[:8192] + bytes(4096)))
    assert main(["maps", str(path), "--cr3", "0"]) == 0
    capsys.readouterr()
    path.write_bytes(elf((LOAD, 0, 0, 4096), (LOAD, 8192, 0, 4096), data=data))
    assert "the memory at 0x0 lies in the file twice, with different bytes" in refused(capsys, path, "--cr3", "0")


def test_segments_that_all_hold_the_same_memory_take_no_time_for_each_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count, size = 20_000, 1 << 17
    path = tmp_path / "core"
    path.write_bytes(elf(*((LOAD, number, 0, size - number) for number in range(count)), data=bytes(size)))
    assert "lies in the file twice, too often to compare" in refused(capsys, path, "--cr3", "0")


def test_segments_that_claim_2_to_the_63_bytes_or_no_physical_address_hold_what_the_file_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "core"
    path.write_bytes(elf((LOAD, 0, 0, 1 << 63), (LOAD, 0, (1 << 64) - 4096, 4096), data=bytes(4096)))
    assert main(["maps", str(path), "--cr3", "0"]) == 0
    said = capsys.readouterr().err
    assert "the file is cut" in said and "segments that lie beyond all physical addresses are left out: 1" in said
