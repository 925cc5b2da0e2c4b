"""VirtualBox's log: a guru meditation and the state of the guest's CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from analyze.log_texts import disguised, triage

from cr3scope.input.logs.formats.virtualbox import FORMAT
from cr3scope.input.logs.logfile import LogFile
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

GURU = "!!         VCPU0: Guru Meditation 1155 (VINF_EM_TRIPLE_FAULT)"
LONG = """\
Guest CPUM (VCPU 0) state:
rax=00000000000a0001 rbx=0000000000000000 rcx=0000000000000001 rdx=4444444444444444
rip=ffffffff80000c71 rsp=ffff800002a91ee0 rbp=0000000000000000 iopl=0      rf nv up di nt zr na po nc
cs={0028 base=0000000000000000 limit=00000000 flags=0000209b}
ss={0030 base=0000000000000000 limit=00000000 flags=00000093}
cr0=0000000080010011 cr2=00000000000a5000 cr3=0000000002a81000 cr4=0000000000000020
gdtr=ffffffff80004000:0037  idtr=ffffffff80005000:0fff  rflags=00010046
tr  ={0000 base=0000000000000000 limit=0000ffff flags=0000008b}
EFER         =0000000000000d01
"""
SHORT = """\
Guest CPUM (VCPU 0) state: se
eax=00000030 ebx=00235a00 ecx=00000000 edx=000003f8 esi=00000000 edi=00107000
eip=00101f14 esp=00007b00 ebp=26d66289 iopl=0         nv up di pl nz na po nc
cs={0008 base=0000000000000000 limit=ffffffff flags=0000c09b} dr0=00000000 dr1=00000000
gs={0010 base=0000000000000000 limit=ffffffff flags=0000c093} cr0=00000011 cr2=00000000
ss={0010 base=0000000000000000 limit=ffffffff flags=0000c093} cr3=00000000 cr4=00000000
gdtr=0000000000101230:0017  idtr=0000000000000000:0000  eflags=00000006
tr  ={0000 base=00000000 limit=0000ffff flags=0000008b}
EFER         =0000000000000000
"""
PARKED = SHORT.replace("VCPU 0", "VCPU 1").replace("eip=00101f14", "eip=0000fff0").replace("cr0=00000011", "cr0=60000010")


def stamped(text: str, stamp: str = "00:00:06.1284") -> str:
    return "".join(f"{stamp}{number:02} {line}\n" for number, line in enumerate(text.splitlines()))


@pytest.mark.parametrize("form", disguised(""))
def test_a_triple_fault_is_one(form: str, tmp_path: Path) -> None:
    said = triage(tmp_path, disguised(stamped(f"{GURU}\n!!\n{LONG}"))[form])
    assert said.status is Status.FAULTED and said.ending is Ending.TRIPLE_FAULT
    assert said.has("triple fault", "RIP=0xffffffff80000c71", "CR2=0xa5000", "VCPU 0", "VirtualBox's log")
    assert said.says_none_of("no IDT is loaded", "gate", "holds no exception")


def test_registers_of_protected_mode_show_that_no_idt_is_loaded(tmp_path: Path) -> None:
    said = triage(tmp_path, stamped(f"!!                 Guru Meditation 1155 (VINF_EM_TRIPLE_FAULT)\n{SHORT}", "00:00:03.61"))
    assert said.has("triple fault", "RIP=0x101f14", "no IDT is loaded (base 0, limit 0h)", "paging off")
    assert said.says_none_of("CR3", "CR2", "VCPU")


def test_a_gate_that_could_not_be_read_is_named(tmp_path: Path) -> None:
    text = LONG.replace("cr2=00000000000a5000", f"cr2={0xFFFFFFFF80005000 + 8 * 16:016x}")
    assert triage(tmp_path, stamped(f"{GURU}\n{text}")).has("gate 8 of the IDT")


def test_the_cpu_of_the_heading_is_the_one_that_died(tmp_path: Path) -> None:
    first = PARKED.replace("VCPU 1", "VCPU 0")
    dead = LONG.replace("VCPU 0", "VCPU 1")
    said = triage(tmp_path, stamped(f"{GURU.replace('VCPU0', 'VCPU1')}\n{first}{dead}"))
    assert said.has("RIP=0xffffffff80000c71", "VCPU 1") and said.says_none_of("fff0", "real mode")
    said = triage(tmp_path, stamped(f"{GURU}\n{SHORT}{PARKED}"))
    assert said.has("RIP=0x101f14") and said.says_none_of("fff0")


@pytest.mark.parametrize(
    "code", ["-1607 (VERR_EM_INTERNAL_ERROR)", "-4014 (VERR_VMX_INVALID_GUEST_STATE)", "1150 (VINF_EM_HALT)", "-2301"]
)
def test_another_guru_meditation_is_named_and_is_no_triple_fault(code: str, tmp_path: Path) -> None:
    said = triage(tmp_path, stamped(f"{GURU.replace('1155 (VINF_EM_TRIPLE_FAULT)', code)}\n{LONG}"))
    assert said.status is Status.FAULTED and said.ending is Ending.STOPPED
    assert said.has(f"Guru Meditation {code}", "RIP=0xffffffff80000c71", "64-bit")
    assert said.says_none_of("triple fault")


def test_a_guest_that_was_switched_off_did_not_die(tmp_path: Path) -> None:
    said = triage(tmp_path, stamped(f"****************** Guest state at power off ******************\n{LONG}"))
    assert said.status is Status.INCOMPLETE
    assert said.has("the guest when it was switched off", "RIP=0xffffffff80000c71", "interrupts off")
    assert said.says_none_of("FAULTED", "triple fault")


def test_what_a_state_shows(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(stamped(f"{GURU}\n{LONG}"))
    with LogFile(tmp_path / "log") as log:
        (event,) = FORMAT.events(log)
    cpu = getattr(event, "cpu")
    assert (cpu.code_bits, cpu.cpl, cpu.efer, cpu.cr4) == (64, 0, 0xD01, 0x20)
    assert (cpu.idt, cpu.gdt) == ((0xFFFFFFFF80005000, 0xFFF), (0xFFFFFFFF80004000, 0x37))
    assert (cpu.flags, cpu.task, cpu.rsp) == (0x10046, 0, 0xFFFF800002A91EE0)


def test_a_log_cut_anywhere_is_judged_as_far_as_it_reaches(tmp_path: Path) -> None:
    text = stamped(f"{GURU}\n{LONG}")
    for cut in range(text.index("1155 (") + len("1155 (VINF_EM_TRIPLE_FAULT)"), len(text), 11):
        said = triage(tmp_path, text[:cut])
        assert said.ending is Ending.TRIPLE_FAULT, cut
        assert said.has("RIP=0xffffffff80000c71") is (cut > text.index(" rsp=")), cut
        assert said.has("RIP=") is (cut > text.index(" rsp=")), cut
