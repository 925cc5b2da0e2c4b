"""A panic in no known form is read by the names of registers, said to be a guess, and prose is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from analyze.log_texts import DISGUISES

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.formats.own_words import FORMAT
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Verdict

RUST = """\
Hello!
EXCEPTION: PAGE FAULT
Accessed Address: VirtAddr(0xdeadbd00)
Error Code: PROTECTION_VIOLATION | CAUSED_BY_WRITE
InterruptStackFrame {
    instruction_pointer: VirtAddr(
        0x204f8f,
    ),
    code_segment: 8,
    cpu_flags: 0x200006,
    stack_pointer: VirtAddr(
        0x57ac001ffd58,
    ),
}
"""
C_KERNEL = """\
*** KERNEL PANIC ***
Exception: Page Fault (14)  err_code=0x2
rip=0xffffffff80104b21 rsp=0xffffffff8012bf60 cs=0x8
cr2: 0xffff800000002000  cr3: 0x0000000000304000
PML4[0x100] = 0x0000000000305003
PDPT[0x000] = 0x0000000000000000
"""
SHORT = """\
[!] INT 13: General Protection Fault
EIP: 00101a2c  ESP: 00104ff0  EFLAGS: 00010086
ERR: 00000018  CS: 0008
"""
NUMBERED = """\
unhandled exception! vector=0x08 error=0x0000
   RIP  ffffffff80001234   RSP  ffffffff8000f000
   CR2  00000000deadb000   CR3  0000000000001000
"""
ALL = [RUST, C_KERNEL, SHORT, NUMBERED]
PROSE = [
    "When a page fault (vector 14) occurs, CR2 holds the address, and the error code is pushed. RIP is that of the access.\n",
    'printf("page fault: rip=0x%lx cr2=%p err=%d\\n", frame->rip, read_cr2(), frame->error);\n',
    "A general protection fault (#GP) leaves CR2 alone; see RIP.\n",
    "#PF #GP #DF: RIP, CR2, CR3 are printed, for example.\n",
    "cr2: 0xffff800000001000 rip=0x1000 rsp=0x2000\n",  # no exception
    "page fault, RIP unknown. CR2 unknown.\n",
    "When a page fault occurs, CR2 = 0xdead0000, RIP = 0xffffffff80001000 and err = 0x2, for instance.\n",
    "GPF: if EIP=0x08048000 and ERR 0x0 are shown, see the manual.\n",
    "Breakpoint 1, page_fault_handler (frame=0xc0105fa0)\nrip 0xffffffff80001136\ncr2 0x0\ncr3 0x10a000\n",
    "[ok] page fault handler installed\n[ok] CR3: 0x10a000\n[ok] RIP: 0xffffffff80100000\n",
    "page_fault+0x1a called: rip=0x1000 rsp=0x2000\n",
    "EXCEPTION: BREAKPOINT\nrip=0x1000 rsp=0x2000 int3, vector 3\n",
]


def found(folder: Path, text: str) -> list[InterruptRecord]:
    (folder / "log").write_text(text)
    with LogFile(folder / "log") as log:
        return [event for event in FORMAT.events(log) if isinstance(event, InterruptRecord)]


def judged(folder: Path, text: str) -> Verdict:
    (folder / "log").write_text(text)
    with LogFile(folder / "log") as log:
        return judge_log(read_story(log))


@pytest.mark.parametrize(
    ("text", "vector", "error", "cr2", "rip", "cr3"),
    [
        (RUST, 14, 3, 0xDEADBD00, 0x204F8F, None),
        (C_KERNEL, 14, 2, 0xFFFF_8000_0000_2000, 0xFFFF_FFFF_8010_4B21, 0x304000),
        (SHORT, 13, 0x18, None, 0x101A2C, None),
        (NUMBERED, 8, 0, None, 0xFFFF_FFFF_8000_1234, 0x1000),
    ],
    ids=["rust", "c", "32 bits", "numbered"],
)
def test_names_of_registers_are_enough(
    text: str, vector: int, error: int, cr2: int | None, rip: int, cr3: int | None, tmp_path: Path
) -> None:
    (record,) = found(tmp_path, text)
    fault = record.fault
    assert (fault.vector, fault.error_code, fault.cr2, fault.rip, fault.cr3) == (vector, error, cr2, rip, cr3)


@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_that_it_is_a_guess_is_said(text: str, tmp_path: Path) -> None:
    words = " ".join(render(judged(tmp_path, text)).split())
    assert "a kernel's own words" in words and "is a guess" in words
    assert "triple fault" not in words


def test_a_number_whose_base_is_not_told_is_left_out(tmp_path: Path) -> None:
    (record,) = found(tmp_path, C_KERNEL.replace("err_code=0x2", "err_code=17"))
    assert record.error_code is None
    assert any("error 17 is left out" in words for words in record.remarks)


def test_a_vector_that_is_taken_as_decimal_is_said_to_be(tmp_path: Path) -> None:
    (record,) = found(tmp_path, "unhandled interrupt 13\nrip=0x1000 rsp=0x8000 err=0x0\n")
    assert record.vector == 13 and any("taken as decimal" in words for words in record.remarks)
    (record,) = found(tmp_path, SHORT)
    assert not any("decimal" in words for words in record.remarks)  # its name says the same


def test_the_walk_of_a_kernel_tells_the_entry(tmp_path: Path) -> None:
    walk = judged(tmp_path, C_KERNEL).walk
    assert walk is not None and walk.refused == "not present"
    assert [each.entry.level for each in walk.levels if each.is_guilty] == [3]
    assert judged(tmp_path, C_KERNEL.replace("PML4[0x100]", "PML4[0x101]")).walk is None


@pytest.mark.parametrize("form", ["{:04x}:{:08x}", "{:#x}:{:#x}", "{:#06x}:{:#010x}"])
@pytest.mark.parametrize("sign", [" = ", ": ", "="])
def test_a_selector_is_not_the_address_behind_it(form: str, sign: str, tmp_path: Path) -> None:
    text = f"PANIC: page fault\nEIP{sign}{form.format(8, 0xC0101234)}  ESP{sign}{form.format(16, 0xC0203FF0)}\nCR2: 0x4\n"
    (record,) = found(tmp_path, text)
    assert (record.rip, record.rsp, record.fault.cr2) == (0xC0101234, 0xC0203FF0, 4)
    assert found(tmp_path, f"page fault\nRIP{sign}0010:memset+0x4/0x20 rsp=0x2000\n") == []
    (record,) = found(tmp_path, f"page fault at cs:eip {form.format(8, 0xC0101234)} cr2=0x10 \n")
    assert (record.rip, record.fault.cr2) == (0xC0101234, 0x10)
    (record,) = found(tmp_path, "CRASH: Page Fault\n  pc=0008:c0146ece flags=0086\n cr2=c3f5f000 cr3=008eb000\n")
    assert record.rip == 0xC0146ECE


def test_numbers_of_freebsd_are_no_vectors(tmp_path: Path) -> None:
    text = "Fatal trap {}: {} while in kernel mode\n{}instruction pointer\t= 0x20:0xffffffff80f3a1b4\nstack pointer\t        = 0x28:0xfffffe00a1b2c3d0\ntrap number\t\t= {}\n"
    (record,) = found(tmp_path, text.format(12, "page fault", "fault virtual address\t= 0x28\n", 12))
    assert (record.vector, record.rip, record.fault.cr2) == (14, 0xFFFF_FFFF_80F3_A1B4, 0x28)
    (record,) = found(tmp_path, text.format(9, "general protection fault", "", 9))
    assert (record.vector, record.rsp) == (13, 0xFFFF_FE00_A1B2_C3D0)


@pytest.mark.parametrize("behind", ["handled, continuing", "recovered", "[test] resolved by the pager"])
def test_a_fault_that_the_kernel_says_it_handled_is_no_death(behind: str, tmp_path: Path) -> None:
    fault = "page fault: rip=0xffffffff80101234 cr2=0xdead000 err=0x2\n"
    assert found(tmp_path, f"{fault}{behind}\n") == []
    assert [record.vector for record in found(tmp_path, f"{fault}{behind}\n{SHORT}")] == [13]
    for word in ("not handled", "Unhandled", "could not be handled", "handled_faults"):
        assert len(found(tmp_path, f"{fault}{word}\n")) == 1


def test_what_happened_to_a_program_of_wine_is_none_of_a_kernel(tmp_path: Path) -> None:
    text = "Unhandled exception: page fault on read access to 0x00000000 in 32-bit code (0x7cb70001).\n"
    assert found(tmp_path, f"{text} EIP:7cb70001 ESP:0163e000 EBP:0163e400 EFLAGS:00210246(   - 00)\n") == []


@pytest.mark.parametrize("text", PROSE, ids=range(len(PROSE)))
def test_prose_is_no_panic(text: str, tmp_path: Path) -> None:
    assert found(tmp_path, text) == []
    with pytest.raises(UnusableInput):
        judged(tmp_path, text)


def test_two_exceptions_that_are_named_together_are_neither(tmp_path: Path) -> None:
    assert found(tmp_path, "double fault in a page fault\nrip=0x1000 rsp=0x2000 cr2=0x3000\n") == []


def test_two_panics_are_two(tmp_path: Path) -> None:
    assert [record.vector for record in found(tmp_path, C_KERNEL + SHORT)] == [14, 13]
    again = C_KERNEL.replace("80104b21", "80104c21")
    assert [record.rip for record in found(tmp_path, C_KERNEL + again)] == [0xFFFF_FFFF_8010_4B21, 0xFFFF_FFFF_8010_4C21]


def test_a_format_that_is_known_comes_first(tmp_path: Path) -> None:
    screen = "!!!! X64 Exception Type - 0D(#GP - General Protection)  CPU Apic ID - 00000000 !!!!\nExceptionData - 0000000000000000\n"
    seen = judged(tmp_path, C_KERNEL + screen).observation
    assert seen is not None and seen.first is not None and seen.first.vector == 13
    assert seen.source == "the firmware's screen"


@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_a_panic_cut_anywhere_tells_nothing_that_is_not_there(text: str, tmp_path: Path) -> None:
    (whole,) = found(tmp_path, text)
    for cut in range(len(text)):
        for record in found(tmp_path, text[:cut]):
            assert record.vector == whole.vector and record.error_code in (whole.error_code, None)
            assert record.rip in (whole.rip, None) and record.cr2 in (whole.cr2, None) and record.cr3 in (whole.cr3, None)


@pytest.mark.parametrize(
    "disguise",
    [
        *DISGUISES.values(),
        lambda text: "".join(f"[   1.{number:03}] (kernel) {line}\n" for number, line in enumerate(text.splitlines())),
    ],
    ids=[*DISGUISES, "timestamps"],
)
@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_a_panic_in_disguise_says_the_same(disguise: Callable[[str], str], text: str, tmp_path: Path) -> None:
    (plain,), (hidden,) = found(tmp_path, text), found(tmp_path, disguise(text))
    assert plain.fault == hidden.fault
