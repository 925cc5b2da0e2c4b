"""The fatal event of a log, whose it was, and why nothing could be delivered: each kind in its forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from analyze.short_log import BOTH, NARROW, NO_PAGING, SEABIOS, WIDE, Cpu, Log

from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.json import as_dict
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log

Judge = Callable[..., "Judged"]


class Judged:
    """What triage says of a text, in JSON and in words."""

    def __init__(self, folder: Path, text: str) -> None:
        path = folder / "log"
        path.write_text(text)
        with LogFile(path) as log:
            verdict = judge_log(read_story(log))
        self.json: dict[str, Any] = json.loads(json.dumps(as_dict(verdict)))
        self.words = " ".join(render(verdict, False).split())
        self.status, self.seen = self.json["verdict"], self.json["observation"]
        self.fatal = self.seen["fatal"]

    def facts(self, *names: str) -> tuple[Any, ...]:
        return tuple(self.fatal[name] for name in names)

    @property
    def why(self) -> list[str | None]:
        return [event["why"] for event in self.seen["events"]]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return lambda log: Judged(tmp_path, log if isinstance(log, str) else log.text)


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def cpu(request: pytest.FixtureRequest) -> Cpu:
    found: Cpu = request.param
    return found


# --- boots ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [True, False], ids=["cpu_reset", "int alone"])
@pytest.mark.parametrize("vector", [13, 14])
def test_the_reboot_of_seabios_is_not_the_guests_death(judge: Judge, cpu: Cpu, vector: int, word: bool) -> None:
    lost = replace(cpu, cr2=0x40_0000)
    log = Log().exception(vector, 0, lost).double_fault(vector, 13, lost).triple_fault(word=word).seabios_reset()
    found = judge(log)
    assert (found.status, found.seen["outcome"], found.seen["boots"]) == ("faulted", "triple-fault", 1)
    assert found.facts("kind", "vector", "rip") == ("exception", vector, hex(cpu.rip))
    assert "0xe2f1a" not in found.words, "not SeaBIOS' own"


@pytest.mark.parametrize("boots", [2, 5])
def test_the_same_death_in_every_boot_is_said_so(judge: Judge, cpu: Cpu, boots: int) -> None:
    log = Log()
    for _ in range(boots):
        log.death(13, 0x3B0, cpu).reset(cpu).seabios_reset()
    found = judge(log)
    assert (found.seen["boots"], found.seen["outcome"]) == (boots, "triple-fault")
    assert f"the same in {boots} of {boots} boots" in found.words and "handled" not in found.words


def test_the_last_boot_that_died_is_told_whatever_came_after(judge: Judge, cpu: Cpu) -> None:
    other = replace(cpu, rip=cpu.rip + 0x500)
    log = Log().death(13, 0, other).reset(other).death(14, 2, replace(cpu, cr2=0x1234)).reset(cpu)
    log.interrupt(0x20, replace(cpu, rip=0x7C00)).interrupt(0x21, replace(cpu, rip=0x7C04))
    found = judge(log)
    assert found.facts("vector", "cr2") == (14, "0x1234")
    assert "of 3 boots that the log tells of, this is number 2" in found.words


def test_two_logs_in_one_file_are_two_boots(judge: Judge, cpu: Cpu) -> None:
    first = Log().exception(14, 2, replace(cpu, cr2=0x1234))
    second = Log().exception(13, 0, replace(cpu, rip=cpu.rip + 0x40))
    found = judge(first.text + second.text)
    assert found.seen["boots"] == 2 and found.facts("vector") == (13,)
    assert "handled" not in found.words


def test_one_boot_is_one_boot(judge: Judge, cpu: Cpu) -> None:
    found = judge(Log().reset(replace(cpu, rip=0xFFF0)).death(13, 0, cpu).reset(cpu))
    assert found.seen["boots"] == 1 and "boots" not in found.words


# --- the last exception --------------------------------------------------------------------------------------------


def test_an_exception_with_nothing_behind_it_is_delivered_and_never_healthy(judge: Judge, cpu: Cpu) -> None:
    found = judge(Log().exception(14, 2, replace(cpu, cr2=0x45)))
    assert (found.status, found.seen["outcome"]) == ("faulted", "delivered")
    assert "handled" not in found.words and found.facts("access") == ("write",)


@pytest.mark.parametrize("vector", [14, 13, 6, 3])
def test_what_was_survived_before_makes_the_last_one_uncertain(judge: Judge, cpu: Cpu, vector: int) -> None:
    log = Log()
    for count in range(4):
        log.exception(vector, 0, replace(cpu, rip=cpu.rip + 8 * count, cr2=0x9000)).interrupt(0x20, cpu)
    last = replace(cpu, rip=cpu.rip + 0x100, rsp=cpu.rsp + 64, cr2=0x45)
    found = judge(log.exception(vector, 0, last))
    assert (found.status, found.seen["outcome"]) == ("incomplete", "delivered")
    assert found.facts("vector", "rip") == (vector, hex(last.rip))
    assert "4 exceptions came first and were handled" in found.words


def test_code_that_goes_on_behind_the_last_one_is_healthy(judge: Judge, cpu: Cpu) -> None:
    log = Log().exception(14, 6, replace(cpu, cpl=3, cs=0x1B, cr2=0x7000)).interrupt(0x20, replace(cpu, cpl=3, cs=0x1B, rip=0x5008))
    found = judge(log)
    assert (found.status, found.seen["outcome"], found.fatal) == ("healthy", "ran", None)
    assert "1 exception, handled" in found.words


def test_a_timer_in_the_kernel_does_not_show_that_user_code_runs_again(judge: Judge, cpu: Cpu) -> None:
    log = Log().exception(14, 6, replace(cpu, cpl=3, cs=0x1B, rsp=0x5000, cr2=0x7000)).interrupt(0x20, cpu)
    assert judge(log).seen["outcome"] == "delivered"


def test_a_handled_fault_is_never_the_headline(judge: Judge, cpu: Cpu) -> None:
    log = Log().exception(14, 3, replace(cpu, cr2=0x8000)).instruction(0x50, replace(cpu, cpl=3, cs=0x1B, rip=0x5000, rsp=0x4000))
    dead = replace(cpu, cpl=3, cs=0x1B, rip=0x6000, rsp=0x4000, cr2=0x6000)
    found = judge(log.death(14, 4, dead, struck=14, cr2=0x60_2FF8))
    assert found.facts("vector", "cpl", "access", "rip") == (14, 3, "fetch", "0x6000")
    assert found.why[0] == "stack-unmapped" and "stack of the TSS, at 0x602ff8" in found.words
    assert found.words.startswith("FAULTED: #PF (error 0004: instruction fetch")


def test_a_double_fault_that_is_delivered_is_no_triple_fault(judge: Judge, cpu: Cpu) -> None:
    found = judge(Log().exception(13, 0, cpu).double_fault(13, 11, cpu))
    assert (found.status, found.seen["outcome"], found.facts("vector")) == ("faulted", "delivered", (13,))
    assert found.why == ["gate-not-present", None] and "handled" not in found.words
    assert "gate 13, or the code segment that it names, is not present" in found.words


# --- whose event it was --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [7, 9])
@pytest.mark.parametrize("vector", [3, 14, 0x30, 0x80])
def test_an_int_instruction_is_no_exception(judge: Judge, cpu: Cpu, vector: int, version: int) -> None:
    log = Log(version=version).instruction(vector, cpu)
    log.death(13, log.gate(vector, cpu), cpu)
    found = judge(log)
    assert found.facts("kind", "vector", "error_code", "cr2") == ("int", vector, None, None)
    assert found.why == ["gate-bad", "gate-bad", "gate-bad"]
    assert f"INT {vector:#04x} (the instruction)" in found.words.splitlines()[0]
    assert "cannot be read" not in found.words and "CR2=" not in found.words


@pytest.mark.parametrize("version", [7, 9])
@pytest.mark.parametrize("vector", [8, 0x20, 0x28])
def test_an_interrupt_that_cannot_be_delivered_is_told_with_its_vector(judge: Judge, cpu: Cpu, vector: int, version: int) -> None:
    log = Log(version=version).interrupt(vector, cpu)
    log.death(13, log.gate(vector, cpu), cpu)
    found = judge(log)
    assert found.facts("kind", "vector") == ("interrupt", vector)
    assert f"while interrupt {vector:#04x} was delivered: #GP" in found.words


def test_an_interrupt_that_was_handled_is_not_blamed_for_what_the_same_instruction_does(judge: Judge, cpu: Cpu) -> None:
    found = judge(Log().interrupt(0x20, cpu).death(13, 0x3B0, cpu))
    assert found.facts("kind", "vector", "error_code") == ("exception", 13, 0x3B0)


def test_a_benign_exception_whose_gate_names_a_selector_beyond_the_gdt(judge: Judge, cpu: Cpu) -> None:
    short = replace(cpu, gdt=(0x7_2000, 0x17))
    found = judge(Log().exception(6, 0, short).death(13, 0x18, short))
    assert found.facts("vector") == (6,) and found.why[0] == "beyond-gdt-limit"
    assert "gate 6 has selector 18h, beyond the GDT's limit 17h" in found.words


# --- what failed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idt", [(0, 0), (0, 0x3FF), (0, 0xFFFF)])
@pytest.mark.parametrize("base", [WIDE, NARROW, NO_PAGING], ids=["64-bit", "32-bit", "paging off"])
def test_no_idt_is_loaded(judge: Judge, base: Cpu, idt: tuple[int, int]) -> None:
    bare = replace(base, idt=idt, cr2=0x200)
    found = judge(Log().death(14 if base.cr0 >> 31 else 13, 0, bare))
    assert found.why[0] == "no-idt" and f"no IDT is loaded (base 0, limit {idt[1]:x}h)" in found.words
    assert "readable" not in found.words
    if not base.cr0 >> 31:
        assert "CR3" not in found.words


def test_a_gate_beyond_the_limit(judge: Judge, cpu: Cpu) -> None:
    short = replace(cpu, idt=(0x7_1000, 0x6F))
    found = judge(Log().death(14, 0, replace(short, cr2=0x200)))
    if cpu.wide:
        assert found.why[0] == "beyond-idt-limit" and "gate 14 is beyond the IDT's limit 6fh" in found.words
    else:
        assert found.why[0] == "beyond-idt-limit"


def test_the_gate_that_is_not_mapped_is_counted_by_its_size(judge: Judge, cpu: Cpu) -> None:
    at = cpu.idt[0] + 14 * (16 if cpu.wide else 8)
    found = judge(Log().death(14, 0, replace(cpu, cr2=cpu.rip), struck=14, cr2=at))
    assert found.why[0] == "idt-unmapped" and f"IDT gate 14 at {at:#x} cannot be read" in found.words
    assert found.facts("access") == ("fetch",)


@pytest.mark.parametrize("struck", [11, 13])
def test_a_cr2_of_an_older_fault_is_no_reason(judge: Judge, cpu: Cpu, struck: int) -> None:
    stale = replace(cpu, cr2=cpu.idt[0] + 0x20)
    found = judge(Log().death(13, 0x3B0, stale, struck=struck))
    assert "cannot be read" not in found.words and found.why[0] in ("gate-bad", "gate-not-present")


def test_a_push_that_failed_is_one_of_a_page_fault(judge: Judge, cpu: Cpu) -> None:
    push = cpu.rsp - 8
    assert judge(Log().death(13, 0, cpu, struck=14, cr2=push)).why[0] == "stack-unmapped"
    assert judge(Log().death(13, 0, replace(cpu, cr2=push), struck=13)).why[0] == "gate-bad"


@pytest.mark.parametrize("struck", [10, 12])
def test_a_stack_or_tss_that_the_cpu_refuses(judge: Judge, cpu: Cpu, struck: int) -> None:
    user = replace(cpu, cpl=3, cs=0x1B)
    found = judge(Log().death(14, 4, replace(user, cr2=0x7000), struck=struck))
    assert found.why[0] == {10: "no-tss", 12: "stack-bad"}[struck]


# --- fetches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("efer", [0, None], ids=["NXE off", "EFER not told"])
def test_a_fetch_is_one_though_the_code_does_not_tell(judge: Judge, cpu: Cpu, efer: int | None) -> None:
    lost = replace(cpu, efer=efer, cs_base=0x4000_0000, cr2=(cpu.rip + 0x4000_0000) & (1 << (64 if cpu.wide else 32)) - 1)
    found = judge(Log().exception(14, 0, lost))
    assert found.facts("access") == ("fetch",) and "instruction fetch, not present" in found.words


def test_a_read_of_ones_own_address_with_nx_on_is_a_read(judge: Judge) -> None:
    found = judge(Log().exception(14, 0, replace(WIDE, efer=0xD00, cr2=WIDE.rip)))
    assert found.facts("access") == ("read",)


# --- what is left of a log -----------------------------------------------------------------------------------------


def test_a_triple_fault_of_which_only_the_registers_are_left(judge: Judge) -> None:
    gone = replace(NARROW, cr2=NARROW.idt[0] + 8 * 8)
    log = Log().reset(gone)
    log.lines.insert(0, "Triple fault")
    found = judge(log)
    assert (found.status, found.seen["outcome"]) == ("faulted", "triple-fault")
    assert found.facts("vector", "rip", "cr2") == (None, hex(gone.rip), hex(gone.cr2))
    assert "is gate 8 of the IDT (#DF), which cannot be read" in found.words


def test_a_cr2_outside_the_idt_is_not_its_gate(judge: Judge, cpu: Cpu) -> None:
    log = Log().reset(replace(cpu, cr2=0x1234))
    log.lines.insert(0, "Triple fault")
    assert "gate" not in judge(log).words


def test_a_head_that_is_cut_is_a_triple_fault_all_the_same(judge: Judge, cpu: Cpu) -> None:
    found = judge("check_exception old: 0x8 new 0xe\n" + Log().reset(cpu).text)
    assert (found.status, found.seen["outcome"]) == ("faulted", "triple-fault")


def test_interrupts_of_real_mode_are_told(judge: Judge) -> None:
    found = judge("CPU Reset (CPU 0)\n" + "Servicing hardware INT=0x08\n" * 3 + "Servicing hardware INT=0x09\n")
    assert found.status == "incomplete" and "real mode: interrupts came (0x8, 0x9)" in found.words
    assert "KVM" not in found.words


def heads(log: Log) -> str:
    """As `grep v=` leaves them."""
    return "\n".join(line for line in log.lines if " v=" in line) + "\n"


def test_first_lines_of_records_alone_are_judged_as_far_as_they_reach(judge: Judge, cpu: Cpu) -> None:
    found = judge(heads(Log().exception(14, 2, replace(cpu, cr2=0x200)).double_fault(14, 13, cpu)))
    assert (found.status, found.seen["outcome"]) == ("faulted", "delivered")
    assert found.facts("vector", "cr2", "access") == (14, "0x200", "write") and len(found.seen["events"]) == 2
    assert "first lines of records alone" in found.words and "handled" not in found.words and "switch" not in found.words


@pytest.mark.parametrize("indent", ["", "    ", "> "])
def test_a_record_that_is_wrapped_is_read(judge: Judge, cpu: Cpu, indent: str) -> None:
    wrapped = Log().exception(14, 2, replace(cpu, cr2=0x4000_0000)).text.replace(" SP=", f"\n{indent}SP=").replace(" CR2=4", f"\n{indent}CR2=4")
    found = judge(indent + wrapped.replace("\n", f"\n{indent}"))
    assert found.facts("vector", "cr2", "rip") == (14, "0x40000000", hex(cpu.rip))


def test_a_record_that_is_cut_does_not_say_that_there_is_none(judge: Judge, cpu: Cpu) -> None:
    whole = Log().exception(14, 2, replace(cpu, cr2=0x1A70)).text
    found = judge(whole[: whole.index("GDT=")])
    assert found.status == "faulted" and "holds no exception" not in found.words
    assert "cut short" in found.words


@pytest.mark.parametrize(("text", "name"), [
    ("Taking exception 4 [Data Abort] on CPU 0\n...from EL1 to EL1\n...with ESR 0x25/0x96000046\n", "aarch64"),
    ("riscv_cpu_do_interrupt: hart:0, async:0, cause:000000000000000d, epc:0x80200abc\n", "riscv"),
    ("CPU Reset (CPU 0)\n V      =   0\n pc       0000000000001000\n mhartid  0000000000000000\n", "riscv"),
    ("CPU Reset (CPU 0)\n PC=0000000000000000 X00=0000000000000000\nX28=0000000000000000 X29=0000000000000000 X30=00\n", "aarch64"),
    ("CPU Reset (CPU 0)\nR12=00000000 R13=00000000 R14=00000000 R15=00008000\nPSR=400001d3 -Z-- A S svc32\n", "arm"),
    ("CPU Reset (CPU 0)\n PC=000000001c000000  FCSR0 0x00000000\nCRMD=0000000000000008\n", "loongarch"),
    ("CPU Reset (CPU 0)\nNIP 00000000fff00100   LR 0000000000000000\n", "powerpc"),
    ("panic: kerneltrap\nscause 0x000000000000000d\nsepc=0x0000000080001bde stval=0x0000000000000000\n", "riscv"),
])  # fmt: skip
def test_a_log_of_another_architecture_is_refused_by_its_name(tmp_path: Path, text: str, name: str) -> None:
    from cr3scope.errors import UnusableInput

    with pytest.raises(UnusableInput, match=f"a log of {name}"):
        Judged(tmp_path, text)


def test_a_death_that_is_certain_goes_before_a_last_exception_that_may_be_survived(judge: Judge, cpu: Cpu) -> None:
    """The first boot left no record, the second one handles such exceptions."""
    log = Log()
    for count in range(3):
        log.exception(14, 0, replace(cpu, rip=cpu.rip + 8 * count, cr2=0x9000)).interrupt(0x20, cpu)
    log.exception(14, 0, replace(cpu, rip=cpu.rip + 0x100, cr2=0x9000))
    head = Log().reset(replace(cpu, cr2=cpu.idt[0] + 8 * (16 if cpu.wide else 8)))
    found = judge("check_exception old: 0x8 new 0xe\nTriple fault\n" + head.text + log.text)
    assert (found.status, found.seen["outcome"]) == ("faulted", "triple-fault")


def test_the_reset_of_seabios_is_no_boot_behind_a_death_without_a_record(judge: Judge, cpu: Cpu) -> None:
    """A head that is cut, SeaBIOS' own reset, and a boot that ends in an exception like others before it."""
    log = Log().seabios_reset().reset(replace(cpu, rip=0xFFF0))
    for count in range(3):
        log.exception(14, 0, replace(cpu, rip=cpu.rip + 8 * count, cr2=0x9000)).interrupt(0x20, cpu)
    log.exception(14, 0, replace(cpu, rip=cpu.rip + 0x100, cr2=0x9000))
    head = Log().reset(replace(cpu, cr2=0x1234))
    assert judge("check_exception old: 0x8 new 0xe\nTriple fault\n" + head.text + log.text).seen["boots"] == 2


@pytest.mark.parametrize("text", [
    "R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000000000\n",
    "<SNIP some lines>\nthe mcause register is none of x86\n",
])  # fmt: skip
def test_registers_of_x86_and_prose_are_of_no_other_architecture(tmp_path: Path, text: str) -> None:
    from cr3scope.errors import UnusableInput

    with pytest.raises(UnusableInput, match="nor anything else that is known"):
        Judged(tmp_path, text)


def test_which_gate_an_error_code_names_is_in_doubt_in_long_mode_alone(judge: Judge, cpu: Cpu) -> None:
    found = judge(Log().instruction(0x40, cpu).death(13, 0x40 * 8 + 2, cpu))
    assert "gate 64 of the IDT" in found.words
    assert ("or 32 with QEMU" in found.words) is cpu.wide


def test_in_real_mode_a_vector_takes_four_bytes_whatever_efer_says(judge: Judge) -> None:
    """Delivery goes by CR0.PE: paging that was turned on without it leaves LMA set and the IVT in use."""
    end = replace(WIDE, cr0=0x8000_0010, cr2=0x20, idt=(0, 0x3FF))
    found = judge(Log(["check_exception old: 0x8 new 0xe", "Triple fault"]).reset(end))
    assert "CR2=0x20 is gate 8 of the IDT (#DF), which cannot be read" in found.words
    assert "NMI" not in found.words
    assert [one["rule"] for one in found.json["findings"]] == ["paging-without-pe"], "that hid the IVT"


@pytest.mark.parametrize("keep", [10, 14, 20, 30, 48, 60])
def test_a_record_whose_first_line_lost_its_end_makes_no_guest_healthy(judge: Judge, cpu: Cpu, keep: int) -> None:
    """Columns that a terminal cut, and a log that breaks off in that line."""
    lines = Log().interrupt(0x20, cpu).exception(14, 2, replace(cpu, cr2=0x200)).lines
    heads = "\n".join(line[:keep] if ": v=0e" in line else line for line in lines if "check" not in line) + "\n"
    for text in (heads, heads + 9 * "CPU Reset (CPU 0)\n", "\n".join(lines)[: "\n".join(lines).index(": v=0e") + keep - 4]):
        found = judge(text)
        assert found.status == "incomplete" and "holds no exception" not in found.words, text


def test_a_record_that_is_followed_by_much_else_is_read(judge: Judge, cpu: Cpu) -> None:
    calm = Log().interrupt(0x20, cpu)
    found = judge(calm.text + 600 * "Servicing hardware INT=0x08\nSMM: enter\n")
    assert found.status == "healthy" and "cannot be read" not in found.words


def test_the_reset_of_seabios_alone_is_a_reset_without_an_exception(judge: Judge, cpu: Cpu) -> None:
    found = judge(Log().interrupt(0x21, cpu).seabios_reset())
    assert (found.status, found.fatal) == ("faulted", None)
    assert "the machine was reset: by SeaBIOS" in found.words and "INT 0x03" not in found.words
    assert [finding["rule"] for finding in found.json["findings"]] == ["bios-reset"]


def test_what_dies_in_the_bios_with_an_idt_of_its_own_is_the_guests(judge: Judge) -> None:
    """SeaBIOS empties the IDT for its reset; a guest that calls the BIOS from protected mode does not."""
    found = judge(Log().instruction(3, replace(NO_PAGING, rip=SEABIOS)).death(13, 0x1A, replace(NO_PAGING, rip=SEABIOS)))
    assert (found.status, found.seen["outcome"]) == ("faulted", "triple-fault") and "by SeaBIOS" not in found.words


@pytest.mark.parametrize("interrupts", [0, 1, 5])
def test_what_came_before_an_exception_of_which_one_line_is_left_is_counted(judge: Judge, cpu: Cpu, interrupts: int) -> None:
    """It is none of the address space's exceptions, and its number was taken for one of theirs."""
    log = Log()
    for count in range(3):
        log.exception(6, 0, replace(cpu, rip=cpu.rip + 8 * count))
        for _ in range(interrupts):
            log.interrupt(0x20, cpu)
    last = replace(cpu, rip=cpu.rip + 0x100, rsp=cpu.rsp + 64)
    log.exception(16, 0, last)
    at = next(at for at in range(len(log.lines) - 1, 0, -1) if " v=10 " in log.lines[at])
    del log.lines[at + 1 :]
    log.exception(13, log.gate(16, last), last)
    log.lines = [line for line in log.lines if "check_exception" not in line]  # as grep leaves them
    found = judge(log)
    assert found.facts("vector", "rip") == (16, hex(last.rip))
    assert "3 exceptions came first and were handled; fatal: #MF" in found.words


FILTERS: dict[str, Callable[[str], bool]] = {
    "no announcement": lambda line: "check_exception" not in line and "Triple" not in line,
    "heads": lambda line: " v=" in line,
    "heads and CR": lambda line: " v=" in line or line.startswith("CR"),
}


@pytest.mark.parametrize("keeps", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("boots", [1, 3])
def test_the_reboot_of_seabios_in_a_filtered_log_is_not_the_guests_death(judge: Judge, cpu: Cpu, keeps: Callable[[str], bool], boots: int) -> None:
    """No line tells of the reset, and its INT3 on an empty IDT was the guest's, with a mend of that."""
    log = Log()
    for _ in range(boots):
        log.death(13, 0x3B0, cpu).seabios_reset()
    log.lines = [line for line in log.lines if keeps(line)]
    found = judge(log)
    assert found.status == "faulted" and found.facts("vector", "rip") == (13, hex(cpu.rip))
    assert "0xe2f1a" not in found.words and "idt-not-loaded" not in found.words


@pytest.mark.parametrize("keeps", FILTERS.values(), ids=FILTERS)
def test_a_filtered_log_that_seabios_ends_alone_is_a_reset(judge: Judge, cpu: Cpu, keeps: Callable[[str], bool]) -> None:
    log = Log().interrupt(0x21, cpu).seabios_reset()
    log.lines = [line for line in log.lines if keeps(line)]
    found = judge(log)
    assert found.status == "faulted" and found.fatal is None and "by SeaBIOS" in found.words


def test_two_filtered_logs_in_one_file_are_two_boots(judge: Judge, cpu: Cpu) -> None:
    """The last record of the first one stood right before the first of the second, and was taken for its announcement."""
    first, second = Log().death(14, 2, replace(cpu, cr2=0x1234)), Log().death(13, 0, replace(cpu, rip=cpu.rip + 0x40))
    found = judge("".join(f"{line}\n" for line in [*first.lines, *second.lines] if " v=" in line))
    assert found.facts("vector", "rip") == (13, hex(cpu.rip + 0x40))
    assert "came first" not in found.words
