"""The firmware's exception screens are read, of X64 and of IA32, one or several, cut anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr3scope.input.logs.event import InterruptRecord, Reset
from cr3scope.input.logs.formats.edk2_screen import FORMAT
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.input.logs.screen import read_screens
from cr3scope.render.message import plain
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Verdict
from cr3scope.x86.ending import Ending

X64 = """\
!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000002 !!!!
ExceptionData - 0000000000000003  I:0 R:0 U:0 W:1 P:1 PK:0 SS:0 SGX:0
RIP  - 000000006D1203F4, CS  - 0000000000000038, RFLAGS - 0000000000210206
RAX  - 0000000000000000, RCX - 000000006E6F9018, RDX - 0000000000000000
RBX  - 0000000000000000, RSP - 000000006FEB1A20, RBP - 000000006FEB1B00
R8   - 0000000000000007, R9  - 0000000000000000, R10 - 0000000000000001
DS   - 0000000000000030, ES  - 0000000000000030, FS  - 0000000000000030
CR0  - 0000000080010033, CR2 - 000000006EF04000, CR3 - 000000006F801000
CR4  - 0000000000100668, CR8 - 0000000000000000
GDTR - 000000006F7DE000 0000000000000047, LDTR - 0000000000000000
IDTR - 000000006EFB7018 0000000000000FFF,   TR - 0000000000000000
FXSAVE_STATE - 000000006FEB1680
!!!! Find image based on IP(0x6D1203F4) (No PDB)  (ImageBase=000000006D11F000, EntryPoint=000000006D1201AC) !!!!
"""
IA32 = """\
!!!! IA32 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!
ExceptionData - 00000000  I:0 R:0 U:0 W:0 P:0 PK:0 SS:0 SGX:0
EIP  - 8FF71230, CS  - 00000010, EFLAGS - 00010046
EAX  - 0CA54C9C, ECX - 3BC1F6DE, EDX - 0CA54CA0, EBX - 00000000
ESP  - 0CA4F930, EBP - 0CA4FA14, ESI - 0CA4FA10, EDI - 00000040
CR0  - 80000013, CR2 - 8FF71230, CR3 - 0DFF3000, CR4 - 00000620
GDTR - 0CA5B4B0 0000003F, IDTR - 0E1FF004 0000010F
LDTR - 00000000, TR - 00000000
"""
GENERAL = X64.replace("0E(#PF - Page-Fault)", "0D(#GP - General Protection)").replace("W:1 P:1", "W:0 P:0")


def events(folder: Path, text: str) -> list[object]:
    (folder / "log").write_text(text)
    with LogFile(folder / "log") as log:
        return list(FORMAT.events(log))


def judged(folder: Path, text: str | bytes) -> Verdict:
    (folder / "log").write_bytes(text.encode() if isinstance(text, str) else text)
    with LogFile(folder / "log") as log:
        return judge_log(read_story(log))


def test_a_screen_of_ia32_tells_its_registers() -> None:
    (record,) = read_screens(b"x\r\n" + IA32.replace("\n", "\r\n").encode())
    cpu = record.cpu
    assert (record.vector, record.error_code, record.offset) == (14, 0, 3)
    assert (cpu.rip, cpu.rsp, cpu.cr2, cpu.cr3, cpu.cr4) == (0x8FF71230, 0xCA4F930, 0x8FF71230, 0xDFF3000, 0x620)
    assert (cpu.idt, cpu.gdt) == ((0xE1FF004, 0x10F), (0xCA5B4B0, 0x3F))
    assert (cpu.code_bits, cpu.cs, cpu.cpl, cpu.flags) == (32, 0x10, 0, 0x10046)
    assert cpu.general["EDX"] == 0xCA54CA0 and "ExceptionData" not in cpu.general
    assert record.access == "fetch"  # CR2 = EIP, where the error code may not tell


def test_a_screen_of_x64_tells_its_registers() -> None:
    (record,) = read_screens(X64.encode())
    cpu = record.cpu
    assert (cpu.rip, cpu.rsp, cpu.cr2, cpu.cr3, cpu.cr4) == (0x6D1203F4, 0x6FEB1A20, 0x6EF04000, 0x6F801000, 0x100668)
    assert (cpu.idt, cpu.gdt, cpu.cr0) == ((0x6EFB7018, 0xFFF), (0x6F7DE000, 0x47), 0x80010033)
    assert (record.access, cpu.code_bits, cpu.general["R8"]) == ("write", 64, 7)
    assert record.whose == "the one with APIC id 2"


def test_only_exceptions_that_have_an_error_code_tell_one(tmp_path: Path) -> None:
    text = X64.replace("0E(#PF - Page-Fault)", "06(#UD - Invalid Opcode)")
    (record,) = read_screens(text.encode())
    assert (record.vector, record.error_code, record.fault.cr2) == (6, None, None)
    (record,) = read_screens(GENERAL.encode())
    assert (record.vector, record.error_code, record.fault.cr2) == (13, 3, None)


@pytest.mark.parametrize("head", ["0000000E", "000000000000000E"])
def test_the_vector_of_older_firmware_is_read(head: str) -> None:
    (record,) = read_screens(X64.replace("0E(#PF - Page-Fault)", head).encode())
    assert record.vector == 14 and record.cpu.cr2 == 0x6EF04000


@pytest.mark.parametrize("screen", [X64, IA32, GENERAL])
def test_a_screen_cut_anywhere_tells_no_number_that_is_not_there(screen: str) -> None:
    (whole,) = read_screens(screen.encode())
    known = {whole.cpu.rip, whole.cpu.rsp, whole.cpu.cr2, whole.cpu.cr3, whole.cpu.cr4, None}
    for cut in range(len(screen)):
        for record in read_screens(screen[:cut].encode()):
            assert record.vector == whole.vector and record.error_code in (whole.error_code, None)
            assert {record.cpu.rip, record.cpu.rsp, record.cpu.cr2, record.cpu.cr3, record.cpu.cr4} <= known
            assert record.cpu.gdt in (whole.cpu.gdt, None) and record.cpu.idt in (whole.cpu.idt, None)


def test_the_first_of_several_screens_is_told_with_its_cpu(tmp_path: Path) -> None:
    found = judged(tmp_path, X64 + GENERAL.replace("00000002 !!!!", "00000005 !!!!"))
    seen = found.observation
    assert seen is not None and seen.first is not None and seen.ending is Ending.HANDLED
    assert seen.first.vector == 14 and seen.cpu == "the one with APIC id 2"


def test_screens_of_several_boots_are_counted(tmp_path: Path) -> None:
    text = ("BdsDxe: loading Boot0003\r\n" + X64) * 3
    found = events(tmp_path, text)
    assert [type(event) for event in found] == [InterruptRecord, Reset, InterruptRecord, Reset, InterruptRecord]
    verdict = judged(tmp_path, text)
    assert any("the same in 3 of 3 boots" in plain(note.message) for note in verdict.diagnostics)


@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
        lambda text: "".join(f"    [12:03:55.012] {line}\n" for line in text.splitlines()),
        lambda text: "\ufeff" + text,
    ],
    ids=["crlf", "quoted", "timestamps", "utf-16"],
)
@pytest.mark.parametrize("screen", [X64, IA32])
def test_a_screen_in_disguise_is_read(disguise: object, screen: str, tmp_path: Path) -> None:
    assert callable(disguise)
    text: str = disguise(screen)
    found = judged(tmp_path, text.encode("utf-16-le" if text.startswith("\ufeff") else "ascii"))
    undisguised = judged(tmp_path, screen)
    assert found.observation is not None and undisguised.observation is not None
    assert found.observation.first == undisguised.observation.first is not None


def test_words_about_a_screen_are_none(tmp_path: Path) -> None:
    text = "edk2 prints `!!!! X64 Exception Type - ` and then the vector, RIP and CR2.\n"
    assert events(tmp_path, text) == []


def test_very_many_beginnings_of_screens_take_no_long_time(tmp_path: Path) -> None:
    assert events(tmp_path, "!!!! X64 Exception Type - zz\n" * 200_000) == []


@pytest.mark.parametrize("text", [X64, IA32])
def test_a_screen_shows_no_switch(tmp_path: Path, text: str) -> None:
    seen = judged(tmp_path, text).observation
    assert seen is not None and seen.first is not None and seen.first.cr3 and seen.switch is None
