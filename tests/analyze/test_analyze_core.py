"""`analyze` of an ELF core: the switch at its CPU's RIP is judged by the memory that the core holds."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_builder import CODE, NEW, NX, PRESENT_WRITABLE, TABLES, USER, core, cpu, memory, page

from cr3scope.cli.main import main
from cr3scope.input.sources.core_note import CoreCpu, read_cpu, write_cpu
from cr3scope.input.sources.open import open_core_file
from cr3scope.input.sources.write_core import write_core
from cr3scope.render.code_prediction import report
from cr3scope.verdict.stopped import judge_stopped
from cr3scope.target.core_cpu import stopped_cpu


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


def test_where_the_machine_has_no_ram_the_core_lacks_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = memory()
    nowhere = NEW + 0x20000
    del pages[nowhere]
    around = f"0-{nowhere - 1:x},{nowhere + 0x1000:x}-fffffff"
    status, found = verdict(capsys, core(tmp_path, pages, ram=around))
    assert (status, found["verdict"], found["diagnostics"]) == (1, "will-fault", []), found
    _, found = verdict(capsys, core(tmp_path, pages, ram="0-fffffff"))
    assert found["verdict"] == "incomplete", found


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (cpu(CR0=1), "no CPU of the core has paging on: there are no tables to judge"),
        (CoreCpu({}), "no CPU of the core has paging on: there are no tables to judge"),
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
    assert read_cpu(write_cpu(one)[:-64]) == "the note has 376 bytes, not 440"
    assert read_cpu(b"\2" + write_cpu(one)[1:]) == "the note is of version 2, not 1"


def test_maps_of_a_saved_core_shows_the_new_tables_without_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = core(tmp_path, memory(veto=NX), shown_cr3=f"{NEW:#x}")
    assert main(["maps", file]) == 0
    told = capsys.readouterr()
    assert f"CR3 {NEW:#x}" in told.out and " rw-- " in told.out
    assert "EFER" not in told.err


MAP_SECOND_GIB = "48c70425 08200100 83000000"  # movq $0x83, 0x12008: the second entry of NEW's PDPT
FILL_PDPT = "b883000000 bf00200100 b900020000 f348ab"  # mov $0x83, %eax; 512 times from 0x12000 on
READ_SECOND_GIB = "488b0425 00000040"  # mov 0x40000000, %rax


def test_a_mapping_that_the_code_makes_first_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = core(tmp_path, memory(f"0f22d8 90 {READ_SECOND_GIB} ebfe"))
    assert verdict(capsys, without)[1]["prediction"]["cr2"] == "0x40000000"
    for code, count in ((MAP_SECOND_GIB, "1 instruction"), (FILL_PDPT, "4 instructions")):
        status, found = verdict(capsys, core(tmp_path, memory(f"0f22d8 {code} {READ_SECOND_GIB} ebfe")))
        assert (status, found["verdict"]) == (0, "healthy"), found
        assert found["prediction"]["followed"] == f"the switch and {count} behind it go through"
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


def test_what_a_page_fault_would_come_to_is_open_once_a_gate_is_written(tmp_path: Path) -> None:
    gate = f"c60425 {(TABLES + 14 * 16).to_bytes(4, 'little').hex()} 01"  # movb $1: of #PF's gate
    for code, told in ((gate, "written on the way"), ("", "IDT")):
        path = core(tmp_path, memory(f"0f22d8 {code} 90 ebfe"))
        now = stopped_cpu(open_core_file(Path(path)), path)
        lines = list(report(judge_stopped(now)))
        after = lines[lines.index("if it page-faulted nevertheless:") + 1 :]
        assert told in after[0], after
        assert ("  ends: triple-fault" in after) == (not code), after


@pytest.mark.parametrize(
    ("change", "rule"), [(lambda value: value & ~1, "identity-missing-trampoline"), (lambda value: value | NX, "nx-leaf-code")]
)
def test_a_page_directory_that_would_do_one_level_higher_is_no_other_depth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[int], int], rule: str
) -> None:
    """2 MiB pages from 0 on, read as 1 GiB pages, map the first GiB where it belongs."""
    pages = memory()
    entries = list(struct.unpack("<512Q", pages[NEW + 0x20000]))
    entries[1] = change(entries[1])
    _, found = verdict(capsys, core(tmp_path, {**pages, NEW + 0x20000: page(*entries)}))
    assert found["findings"][0]["rule"] == rule
    assert found["findings"][0]["entry"]["phys"] == f"{NEW + 0x20008:#x}"


def test_tables_of_five_levels_under_four_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = 0x7000
    pages = {**memory(), top: page(NEW | PRESENT_WRITABLE)}
    _, found = verdict(capsys, core(tmp_path, pages, cpu(RAX=top)))
    assert [one["rule"] for one in found["findings"]] == ["la57-mismatch"]


@pytest.mark.parametrize(
    ("is_in_core", "rules"), [(True, ["nx-upper-level", "stack-unmapped"]), (False, ["nx-upper-level"])]
)
def test_what_would_break_next_is_not_guessed_from_a_table_that_the_core_lacks(
    is_in_core: bool, rules: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages, second_gib = memory(veto=NX), 0x50000
    pdpt = list(struct.unpack("<512Q", pages[NEW + 0x10000]))
    pdpt[1] = second_gib | PRESENT_WRITABLE
    pages[NEW + 0x10000] = page(*pdpt)
    if is_in_core:
        pages[second_gib] = bytes(4096)
    status, found = verdict(capsys, core(tmp_path, pages, cpu(RSP=0x40001000)))
    assert (status, found["verdict"]) == (1, "will-fault")
    assert [one["rule"] for one in found["findings"]] == rules


def test_a_repeated_instruction_is_one_line_of_the_report(tmp_path: Path) -> None:
    """`rep movsb` of 2 MiB, and one that meets a page of the target that nothing maps."""
    copy = "be00004000 bf{target} b900002000 f3a4"
    for target, told in (
        (0x800000, ["read         read   0x0000000000400000..0x00000000005ff000  ok",
                    "write        write  0x0000000000800000..0x00000000009ff000  ok"]),
        (0x3FF00000, ["read         read   0x0000000000400000..0x0000000000500000  ok",
                      "write        write  0x000000003ff00000..0x000000003ffff000  ok",
                      "write        write  0x0000000040000000  FAULTS"]),
    ):  # fmt: skip
        code = copy.format(target=target.to_bytes(4, "little").hex())
        path = core(tmp_path, memory(f"0f22d8 {code} ebfe"))
        now = stopped_cpu(open_core_file(Path(path)), path)
        lines = [line.strip() for line in report(judge_stopped(now))]
        assert [line for line in lines if line.startswith(("read ", "write "))] == told


def elsewhere(there: bytes) -> dict[int, bytes]:
    """The new tables lead the code's page to a frame of its own, with these bytes behind the switch."""
    pages, table, copy = memory(), 0x300000, 0x301000
    directory = list(struct.unpack("<512Q", pages[NEW + 0x20000]))
    directory[CODE >> 21] = table | PRESENT_WRITABLE
    pages[NEW + 0x20000] = page(*directory)
    pages[table] = page(*(CODE + number * 0x1000 | PRESENT_WRITABLE if number else copy | PRESENT_WRITABLE for number in range(512)))
    pages[copy] = there.ljust(4096, b"\0")
    return pages


@pytest.mark.parametrize(
    ("there", "rules"),
    [("50 58 ebfe", []), ("50 f4", []), ("00 00 ebfe", ["wrong-frame"]), ("f4", ["wrong-frame"]), ("0f0b", ["wrong-frame"])],
    ids=["a-copy", "patched-later", "zeros", "hlt", "ud2"],
)
def test_other_code_behind_the_switch_than_before_it_is_in_the_wrong_frame(
    there: str, rules: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may well go on, and that is not what anybody meant: the next instruction is asked, not what becomes of it."""
    status, found = verdict(capsys, core(tmp_path, elsewhere(bytes(3) + bytes.fromhex(there))))
    assert [one["rule"] for one in found["findings"]] == rules
    assert status == bool(rules)
    if rules:
        assert found["findings"][0]["title"] == "PT[0] leads 0x200003 to 0x301003, and the code that goes on there lies at 0x200003"


def test_what_refuses_to_fetch_other_code_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One mend alone does not let the code go on."""
    pages = elsewhere(bytes.fromhex("000000 0000 ebfe"))
    leaves = list(struct.unpack("<512Q", pages[0x300000]))
    leaves[0] |= NX
    _, found = verdict(capsys, core(tmp_path, pages | {0x300000: page(*leaves)}))
    assert [one["rule"] for one in found["findings"]] == ["nx-leaf-code", "wrong-frame"]


@pytest.mark.parametrize("there", ["cc 58 ebfe", "eb00 ebfe", "0f1f440000 ebfe"], ids=["breakpoint", "jump", "nop"])
def test_a_copy_of_the_switch_that_goes_on_otherwise_was_changed_by_whoever_copied_it(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kernel that moves itself and patches what it has moved, or a debugger's breakpoint in one of the two."""
    _, found = verdict(capsys, core(tmp_path, elsewhere(bytes.fromhex("0f22d8" + there))))
    assert found["findings"] == []


@pytest.mark.parametrize(("end", "rules"), [("10000000", ["wrong-frame"]), ("00000000", [])], ids=["another", "the-same"])
def test_an_instruction_whose_end_lies_in_the_wrong_frame_is_another_one(
    end: str, rules: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first bytes are those that were meant; with the next page the other frame begins."""
    code = bytes.fromhex("0f22d8 8a8424 00000000 ebfe")  # mov cr3, rax; mov al, [rsp + 0]; an endless loop
    pages = elsewhere(bytes.fromhex(end + "ebfe"))
    pages |= {CODE - 0x1000: code[:6].rjust(4096, b"\0"), CODE: code[6:].ljust(4096, b"\0")}
    _, found = verdict(capsys, core(tmp_path, pages, cpu(RIP=CODE - 6)))
    assert [one["rule"] for one in found["findings"]] == rules
    if rules:
        assert found["findings"][0]["title"] == "PT[0] leads 0x200000 to 0x301000, and the code that goes on there lies at 0x200000"


NO_STACK = "0f22d8 0f22e1"  # mov cr3, rax; mov cr4, rcx, which is followed no further


@pytest.mark.parametrize(
    ("behind", "rules"),
    [
        ("488b2500000000 50 ebfe", []),  # mov rsp, [rip]
        ("48c7c010002000 ffe0 cc bc00102000 50", []),  # mov rax, CODE + 0x10; jmp rax; int3; mov esp, CODE + 0x1000
        ("7402 50f4 5c 50", []),  # je over push, hlt; pop rsp
        ("480f07", []),  # sysretq
        ("48cf", []),  # iretq
        ("4883ec08 50", ["stack-unmapped"]),  # sub rsp, 8; push
        ("4889ec 50", ["stack-unmapped"]),  # mov rsp, rbp
        ("e800000000 5c", ["stack-unmapped"]),  # call; pop rsp
        ("ffe1", ["stack-unmapped"]),  # jmp rcx, which nobody knows
    ],
)
def test_who_may_load_another_stack_first_is_not_told_that_it_writes_to_this_one(
    behind: str, rules: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Linux starts its other CPUs so, and returns so to its programs: both were told that the switch kills them."""
    one = cpu(RSP=0x7FFF_0000_0000, RCX=0x20)
    if "ffe1" in behind:
        behind = "0f31 89c1" + behind  # rdtsc; mov ecx, eax
    _, found = verdict(capsys, core(tmp_path, memory(NO_STACK + behind), one))
    assert [each["rule"] for each in found["findings"]] == rules


def test_a_mode_that_no_cpu_can_be_in_is_no_internal_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PG without PE: no rule is about such a CPU (found by fuzzing)."""
    status, found = verdict(capsys, core(tmp_path, memory(veto=NX), cpu(CR0=0x80010000)))
    assert (status, found["verdict"], found["findings"]) == (1, "will-fault", [])
