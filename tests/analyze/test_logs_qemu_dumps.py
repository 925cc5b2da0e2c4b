"""QEMU's register dumps outside its log: at its own end, and on its monitor; and texts that hold several producers."""

from __future__ import annotations

from pathlib import Path

import pytest
from analyze.log_texts import disguised, triage
from analyze.storm_log import IDT, SWITCH, TRIPLE, firmware, record
from analyze.test_logs_bochs import GATES, death
from analyze.test_logs_kvm import DUMP as KVM_DUMP, NEW, OLD
from analyze.test_logs_virtualbox import GURU, SHORT, stamped

from cr3scope.input.logs.report import formats_of
from cr3scope.input.logs.logfile import LogFile
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

FATAL = "qemu: fatal: Trying to execute code outside RAM or ROM at 0x0d0a0000\n\n"
REAL = KVM_DUMP.replace("c01be3c0", "0d0a0000").replace("CR0=8", "CR0=0")
SCREEN = """\
RAX=0000000000000000 RBX=0000000000000001 RCX=0000000000000002 RDX=0000000000000003
RSI=0000000000000000 RDI=0000000000000000 RBP=ffffffff80013ff8 RSP=ffffffff80013fd0
RIP=ffffffff80011234 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CS =0008 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy
GDT=     ffffffff80015000 0000001f
IDT=     ffffffff80016000 00000fff
CR0=80010011 CR2=0000000000000000 CR3=0000000000103000 CR4=00000020
EFER=0000000000000d00
"""


@pytest.mark.parametrize("form", disguised(""))
def test_code_outside_ram_is_told_with_its_place(form: str, tmp_path: Path) -> None:
    said = triage(tmp_path, disguised(FATAL + REAL)[form])
    assert said.status is Status.FAULTED and said.ending is Ending.STOPPED
    assert said.has("went on to code at 0xd0a0000, where there is neither RAM nor ROM", "EIP=0xd0a0000", "paging off")
    assert said.says_none_of("exception", "CR3", "linear", "triple fault")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qemu-system-x86_64: Trying to execute code outside RAM or ROM at 0x00000000000a0000\nThis usually means one of",
         "QEMU gave up: the guest went on to code at 0xa0000,"),
        ("qemu-system-i386.exe: Trying to execute code outside RAM or ROM at 0xe01207a0\n", "code at 0xe01207a0,"),
        ("qemu-system-riscv64: Trying to execute code outside RAM or ROM at 0x0\n", "QEMU (riscv64) gave up"),
        ("qemu: fatal: invalid tss type\n" + KVM_DUMP, "QEMU gave up: `invalid tss type`, at EIP=0xc01be3c0"),
        (FATAL + KVM_DUMP, "(a linear address)"),
    ],
)  # fmt: skip
def test_other_forms_of_it(text: str, words: str, tmp_path: Path) -> None:
    said = triage(tmp_path, text)
    assert said.ending is Ending.STOPPED and said.has(words)


def test_a_title_that_says_it_as_well_does_not_hide_the_registers(tmp_path: Path) -> None:
    said = triage(tmp_path, f"# {FATAL}I run make, and then:\n{FATAL}{REAL}\nEnd: {FATAL}")
    assert said.has("EIP=0xd0a0000") and said.says_none_of("boots", "another end")


@pytest.mark.parametrize("head", ["", "(qemu) info registers\n", "(qemu) info registers\nCPU#0\n", "QEMU 8.2.2 monitor\n(qemu) info registers -a\n\nCPU#0\n"])
@pytest.mark.parametrize("form", disguised(""))
def test_registers_from_the_monitor_are_a_place_and_no_death(form: str, head: str, tmp_path: Path) -> None:
    said = triage(tmp_path, disguised(head + SCREEN)[form])
    assert said.status is Status.INCOMPLETE and said.ending is None
    assert said.has("the CPU at RIP=0xffffffff80011234", "CR3=0x103000", "64-bit", "halted, interrupts off", "QEMU's monitor")
    assert said.has("nothing here says that the guest died", "only an NMI, an SMI, INIT or a reset wakes it")
    assert said.says_none_of("FAULTED", "HEALTHY", "triple fault", "no IDT")


def test_what_the_registers_show_by_themselves(tmp_path: Path) -> None:
    running = SCREEN.replace("HLT=1", "HLT=0").replace("RFL=00000046", "RFL=00000246")
    said = triage(tmp_path, running)
    assert said.has("interrupts on") and said.says_none_of("halted", "wakes it")
    said = triage(tmp_path, running.replace("IDT=     ffffffff80016000 00000fff", "IDT=     0000000000000000 00000000"))
    assert said.has("no IDT is loaded", "the first exception would be a triple fault") and said.status is Status.INCOMPLETE


def test_of_several_cpus_one_that_runs_is_told(tmp_path: Path) -> None:
    other = SCREEN.replace("HLT=1", "HLT=0").replace("80011234", "80017777")
    said = triage(tmp_path, f"(qemu) info registers -a\nCPU#0\n{SCREEN}\nCPU#1\n{other}")
    assert said.has("CPU 1 of the 2 that are shown (1 is halted) at RIP=0xffffffff80017777")
    again = triage(tmp_path, f"(qemu) info registers\nCPU#0\n{SCREEN}(qemu) info registers\nCPU#0\n{other}")
    assert again.has("the CPU at RIP=0xffffffff80017777") and again.says_none_of("80011234")


@pytest.mark.parametrize(
    "text",
    [
        "".join(firmware(3)) + record(3, 14, 0x11, cr2=SWITCH) + record(4, 8, cr2=IDT + 14 * 16, old=14) + TRIPLE,
        "CPU Reset (CPU 0)\n" + SCREEN,
        "SMM: enter\n" + SCREEN,
        OLD.format(0xBFEFC) + KVM_DUMP,
        FATAL + REAL,
    ],
    ids=["a record", "a reset", "SMM", "KVM", "fatal"],
)
def test_dumps_that_were_written_for_something_else_are_not_the_monitors(text: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(text)
    with LogFile(tmp_path / "log") as log:
        assert [each.source for each in formats_of(log) if each.is_guess] == []
    assert triage(tmp_path, text).says_none_of("QEMU's monitor", "nothing here says")


QEMU_DIED = "".join(firmware(3)) + record(3, 14, 0x11, cr2=SWITCH) + record(4, 8, cr2=IDT + 14 * 16, old=14) + TRIPLE


def test_logs_of_bochs_and_of_qemu_in_one_text_are_both_told(tmp_path: Path) -> None:
    bochs = death("write_virtual_checks(): write beyond limit, r/w", *GATES)
    said = triage(tmp_path, f"In QEMU:\n{QEMU_DIED}\nand in Bochs:\n{bochs}")
    assert said.ending is Ending.TRIPLE_FAULT
    assert said.has("Bochs' log and interrupt log", "#GP at RIP=0xb21", "Bochs says")
    other = triage(tmp_path, f"In Bochs:\n{bochs}\nand in QEMU:\n{QEMU_DIED}")
    assert other.has(f"at RIP={SWITCH:#x}", "instruction fetch") and other.says_none_of("Bochs says")


def test_a_death_that_no_record_tells_of_is_told_beside_one_that_is_recorded(tmp_path: Path) -> None:
    said = triage(tmp_path, f"QEMU:\n{QEMU_DIED}\nVirtualBox says of the same image:\n{stamped(f'{GURU}{chr(10)}{SHORT}')}")
    assert said.has(f"at RIP={SWITCH:#x}", "another end as well", "RIP=0x101f14", "no IDT is loaded")


def test_kvms_report_counts_though_registers_are_shown_behind_it(tmp_path: Path) -> None:
    said = triage(tmp_path, f"{NEW}{KVM_DUMP}\nthen I asked:\n(qemu) info registers\n{SCREEN}")
    assert said.ending is Ending.STOPPED and said.has("EIP=0xc01be3c0") and said.says_none_of("80011234")
