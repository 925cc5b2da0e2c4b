"""`analyze` of an ELF core: the switch at its CPU's RIP is judged by the memory that the core holds."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cr3scope.cli.main import main
from cr3scope.sources.core_note import CoreCpu, Segment, code_flags, read_cpu, write_cpu
from cr3scope.sources.write_core import write_core

OLD, NEW, CODE, STACK, TABLES = 0x1000, 0x2000, 0x200000, 0x201000, 0x202000
NX, LARGE, USER, PRESENT_WRITABLE = 1 << 63, 0x80, 4, 3
SWITCH = "0f22d8 50 58 ebfe"  # mov cr3, rax; push rax; pop rax; an endless loop
GATES, SEGMENTS = (TABLES, 0xFFF), (TABLES + 0x1000, 0x17)
CODE_64 = 0x00AF9B000000FFFF
LONG_MODE = {"CR0": 0x80010001, "CR4": 0x20}


def page(*entries: int) -> bytes:
    return struct.pack(f"<{len(entries)}Q", *entries).ljust(4096, b"\0")


def identity(root: int, veto: int = 0, also: int = 0) -> dict[int, bytes]:
    """The first GiB by large pages; ``veto`` is set in the top entry, ``also`` in all."""
    pdpt = root + 0x10000
    leaves = (number << 21 | LARGE | PRESENT_WRITABLE | also for number in range(512))
    return {
        root: page(pdpt | PRESENT_WRITABLE | veto | also),
        pdpt: page(pdpt + 0x10000 | PRESENT_WRITABLE | also),
        pdpt + 0x10000: page(*leaves),
    }


def memory(code: str = SWITCH, veto: int = 0, also: int = 0) -> dict[int, bytes]:
    return {
        **identity(OLD, also=also), **identity(NEW, veto),
        CODE: bytes.fromhex(code).ljust(4096, b"\0"), STACK: bytes(4096),
        TABLES: bytes(4096), TABLES + 0x1000: page(0, CODE_64, 0x00CF93000000FFFF),
    }  # fmt: skip


def cpu(selector: int = 8, **registers: int) -> CoreCpu:
    segments = {
        "CS": Segment(selector, 0, 0xFFFFFFFF, code_flags(64)), "TR": Segment(0),
        "IDT": Segment(0, *GATES), "GDT": Segment(0, *SEGMENTS),
    }  # fmt: skip
    wanted = {**LONG_MODE, "CR3": OLD, "RIP": CODE, "RSP": STACK + 0x800, "RAX": NEW, **registers}
    return CoreCpu(wanted, segments)


def core(
    folder: Path, pages: Mapping[int, bytes], one: CoreCpu | None = None, **words: str
) -> str:
    file = folder / "saved.core"
    file.write_bytes(write_core(one or cpu(), pages, {"efer": "0xd00", "platform": "tcg", **words}))
    return str(file)


def verdict(capsys: pytest.CaptureFixture[str], file: str) -> tuple[int, dict[str, Any]]:
    status = main(["analyze", file, "--json", "-"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, found


def test_a_switch_that_goes_through_is_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", core(tmp_path, memory())]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "HEALTHY: the switch and 3 instructions behind it go through",
        f"  then  an endless loop at {CODE + 5:#x}",
    ]


def test_the_entry_that_vetoes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = verdict(capsys, core(tmp_path, memory(veto=NX)))
    assert (status, found["verdict"]) == (1, "will-fault")
    assert [finding["rule"] for finding in found["findings"]] == ["nx-upper-level"]
    assert found["findings"][0]["entry"]["phys"] == f"{NEW:#x}"
    prediction = found["prediction"]
    assert (prediction["vector"], prediction["error_code"]) == (14, 0x11)
    assert (prediction["rip"], prediction["cr2"]) == (f"{CODE + 3:#x}",) * 2
    assert prediction["ends"] == "triple-fault"  # the IDT is empty
    assert prediction["step_number"] == 0


def test_a_cpu_that_stands_elsewhere_is_judged_under_its_own_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = verdict(capsys, core(tmp_path, memory("50 58 ebfe", veto=NX)))
    assert (status, found["verdict"]) == (0, "healthy")
    assert "which is no mov cr3: judged under its own CR3" in found["diagnostics"][0]["message"]


@pytest.mark.parametrize(("also", "status"), [(USER, 0), (0, 1)])
def test_a_cpu_in_user_mode_makes_user_accesses(
    also: int, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SMEP and SMAP forbid the supervisor what user mode may do."""
    one = cpu(0x1B, CR4=0x20 | 1 << 20 | 1 << 21)
    done, found = verdict(capsys, core(tmp_path, memory("50 58 ebfe", also=also), one))
    assert done == status, found
    if status:
        assert found["prediction"]["error_code"] == 0x15  # user, fetch, present
        assert "not predicted" in found["prediction"]["chain"][0]


@pytest.mark.parametrize("missing", [CODE, NEW, NEW + 0x20000])
def test_memory_that_is_not_in_the_core_forbids_a_clean_verdict(
    missing: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = memory()
    del pages[missing]
    status, found = verdict(capsys, core(tmp_path, pages))
    assert found["verdict"] == "incomplete" and status != 0
    told = " ".join(one["message"] for one in found["diagnostics"])
    assert f"the core does not hold the memory at {missing:#x}" in told


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (cpu(CR0=1), "no CPU of the core is in long mode: only 64-bit paging can be judged"),
        (CoreCpu({}), "no CPU of the core is in long mode: only 64-bit paging can be judged"),
    ],
)
def test_a_core_without_long_mode_is_one_line(
    one: CoreCpu, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = core(tmp_path, memory(), one, efer="0x0")
    assert main(["analyze", file]) == 2
    assert capsys.readouterr().err == f"cr3scope: {file}: {words}\n"


def test_a_core_that_tells_no_registers_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(core(tmp_path, memory()))
    file.write_bytes(file.read_bytes().replace(b"QEMU\0", b"QUMU\0"))
    assert main(["analyze", str(file)]) == 2
    assert capsys.readouterr().err == f"cr3scope: {file}: the core tells no CPU's registers (no QEMU note)\n"


def test_a_core_that_does_not_tell_efer_says_what_is_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dumped.core"
    file.write_bytes(write_core(cpu(), memory()))
    _, found = verdict(capsys, str(file))
    assert "the core does not tell EFER: 0xd00 is assumed" in found["diagnostics"][0]["message"]


@pytest.mark.parametrize("kept", [0, 3, 200, 900])
def test_a_cut_core_is_no_clean_verdict_and_no_traceback(
    kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(core(tmp_path, memory()))
    file.write_bytes(file.read_bytes()[:kept])
    assert main(["analyze", str(file)]) == 2


def test_a_core_takes_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = core(tmp_path, memory())
    assert main(["analyze", file, "--log", "interrupts.log"]) == 2
    assert capsys.readouterr().err == f"cr3scope: {file}: an ELF core: --log goes with a capture\n"


def test_a_note_reads_back() -> None:
    one = cpu(R15=0xFFFFFFFFFFFFFFFF, CR2=5, RFL=0x246)
    again = read_cpu(write_cpu(one))
    assert again is not None
    assert {name: again.registers[name] for name in one.registers} == one.registers
    assert {name: again.segments[name] for name in one.segments} == one.segments
    assert again.code_bits == 64
    assert read_cpu(write_cpu(one)[:-64]) is None
    assert read_cpu(b"\2" + write_cpu(one)[1:]) is None


def test_maps_of_a_saved_core_shows_the_new_tables_without_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = core(tmp_path, memory(veto=NX), shown_cr3=f"{NEW:#x}")
    assert main(["maps", file]) == 0
    told = capsys.readouterr()
    assert f"CR3 {NEW:#x}" in told.out and " rw-- " in told.out
    assert "EFER" not in told.err


MAP_SECOND_GIB = "48c70425 08200100 83000000"  # movq $0x83, 0x12008: the second entry of NEW's PDPT
READ_SECOND_GIB = "488b0425 00000040"  # mov 0x40000000, %rax


def test_a_mapping_that_the_code_makes_first_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = core(tmp_path, memory(f"0f22d8 90 {READ_SECOND_GIB} ebfe"))
    assert verdict(capsys, without)[1]["prediction"]["cr2"] == "0x40000000"
    status, found = verdict(capsys, core(tmp_path, memory(f"0f22d8 {MAP_SECOND_GIB} {READ_SECOND_GIB} ebfe")))
    assert (status, found["verdict"]) == (0, "healthy"), found
    assert found["prediction"]["followed"] == "the switch and 1 instruction behind it go through"
    assert found["prediction"]["chain"] == ["the tables that map 0x40000000 are written on the way"]


def test_gates_that_the_code_makes_first_leave_open_what_comes_of_an_exception(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = f"c60425 {(TABLES + 6 * 16).to_bytes(4, 'little').hex()} 01"  # movb $1: of #UD's gate
    for code, ends in ((f"0f22d8 {gate} 0f0b", None), ("0f22d8 90 0f0b", "triple-fault")):
        status, found = verdict(capsys, core(tmp_path, memory(code)))
        assert (status, found["verdict"]) == (1, "will-fault")
        assert (found["prediction"]["vector"], found["prediction"]["ends"]) == (6, ends)


def test_a_write_beside_the_tables_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A boot sector's stack often shares its page with the GDT."""
    beside_entry = MAP_SECOND_GIB.replace("08200100", "10200100")
    code = f"0f22d8 {beside_entry} {READ_SECOND_GIB} ebfe"
    assert verdict(capsys, core(tmp_path, memory(code)))[1]["prediction"]["cr2"] == "0x40000000"
    one = cpu(RSP=TABLES + 0x1000 + 0x800)
    _, found = verdict(capsys, core(tmp_path, memory("0f22d8 50 0f0b"), one))
    assert (found["prediction"]["vector"], found["prediction"]["ends"]) == (6, "triple-fault")
