"""What a log shows of frames that iret misreads, of selectors, and of the tasks of one CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analyze.log_rules import LOST, Read, pushed, reader
from analyze.short_log import BOTH, NARROW, WIDE, Cpu, Log

from cr3scope.render.message import plain
from cr3scope.x86.cpu_state import CR0_TS


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return reader(tmp_path)


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def cpu(request: pytest.FixtureRequest) -> Cpu:
    found: Cpu = request.param
    return found


def returning(cpu: Cpu, vector: int, off: int = 0, taken: int | None = None) -> Log:
    """A handler whose iret misreads its frame; ``off``: bytes between RSP and where it then should be."""
    with_code = vector == 14
    word = 8 if cpu.wide else 4
    rsp = pushed(cpu, with_code) + (0 if with_code else word) + off
    flags = 0x46
    taken = (cpu.rip if with_code else flags) if taken is None else taken
    log = Log().exception(vector, 2 if with_code else 0, replace(cpu, cr2=LOST))
    return log.exception(13, taken & 0xFFFC, replace(cpu, rip=0x20_9040, rsp=rsp))


def test_an_error_code_that_was_left_on_the_stack(read: Read, cpu: Cpu) -> None:
    found = read(returning(cpu, 14))
    assert found.rules == ["iret-frame"]
    assert "the error code of #PF is still on the stack at the iret at RIP=0x209040" in found.words
    assert f"is the low half of {cpu.rip:#x}" in found.words


def test_an_error_code_that_was_taken_off_though_none_was_there(read: Read, cpu: Cpu) -> None:
    found = read(returning(cpu, 6))
    assert found.rules == ["iret-frame"] and "took an error code off the stack that #UD does not push" in found.words


def test_a_word_that_the_handler_pushed_and_left_on_the_stack(read: Read, cpu: Cpu) -> None:
    word = 8 if cpu.wide else 4
    log = Log().exception(6, 0, cpu).exception(13, cpu.rip & 0xFFFC, replace(cpu, rip=0x20_9040, rsp=pushed(cpu, False) - word))
    found = read(log)
    assert found.rules == ["iret-frame"] and "one word more than #UD pushed is on the stack" in found.words


def test_an_error_code_that_was_left_on_a_stack_that_no_record_tells_of(read: Read, cpu: Cpu) -> None:
    """It came in ring 3: which stack the TSS names is not in the log. That the GDT has no such selector is no matter of lgdt."""
    user = replace(cpu, cpl=3, cs=0x1B, cr2=LOST, rip=0x20_8060)
    frame = replace(cpu, rip=0x20_9040, rsp=0x9_8FC0)
    other = read(Log().exception(14, 4, user).exception(13, 0x7F30, frame))
    assert "iret-frame" not in other.rules


@pytest.mark.parametrize(("narrow", "rip"), [(NARROW, 0xC010_5678), (WIDE, 0xFFFF_FFFF_8020_1230)])
def test_an_iret_that_pops_words_of_half_the_size(read: Read, narrow: Cpu, rip: int) -> None:
    cpu = replace(narrow, rip=rip)
    taken = rip >> (32 if cpu.wide else 16) & 0xFFFC
    found = read(Log().exception(6, 0, cpu).exception(13, taken, replace(cpu, rip=rip + 0x40, rsp=pushed(cpu, False))))
    assert found.rules == ["iret-frame"]
    assert "pops words of half the size that #UD pushed" in found.words and "iretq in 64-bit code" in found.words
    moved = replace(cpu, rip=rip + 0x40, rsp=pushed(cpu, False) + 0x20)
    assert "iret-frame" not in read(Log().exception(6, 0, cpu).exception(13, taken, moved)).rules


def test_a_selector_beyond_a_gdt_that_is_in_use_may_itself_be_wrong(read: Read, cpu: Cpu) -> None:
    """CS lies inside: nobody knows which of the two is wrong, and no mend speaks of lgdt alone."""
    found = read(Log().exception(13, 0x88, cpu))
    assert found.rules == ["gdt-not-loaded"] and "CS=08h lies inside of it" in found.words
    assert "Correct the selector" in found.words
    short = read(Log().exception(13, 0x88, replace(cpu, gdt=(0x7_2000, 7))))
    assert "Correct the selector" not in short.words


@pytest.mark.parametrize("vector", [6, 14])
def test_another_rsp_or_another_selector_is_no_iret_that_misreads(read: Read, cpu: Cpu, vector: int) -> None:
    assert "iret-frame" in read(returning(cpu, vector)).rules
    assert "iret-frame" not in read(returning(cpu, vector, off=-16)).rules
    assert "iret-frame" not in read(returning(cpu, vector, taken=0x7F30)).rules


def test_tasks_between_which_one_cpu_switches_are_one_cpu(read: Read) -> None:
    """A double fault by a task gate, and the end in that task; in long mode no CPU changes its task register so."""
    task = replace(NARROW, task=0x7_4000, rip=0x10_9000, rsp=0x9_8F00, cr0=NARROW.cr0 | CR0_TS)
    log = Log().exception(14, 2, NARROW).death(6, 0, task)
    report = read(log).report
    assert "CPU" not in str(report.cpu) and report.cpu == ""
    others = read(Log().exception(14, 2, NARROW).death(6, 0, replace(task, gdt=(0x8_2000, 0x2F)))).report
    assert "does not say which" in plain(others.cpu)
    unswitched = read(Log().exception(14, 2, NARROW).death(6, 0, replace(task, cr0=NARROW.cr0))).report
    assert "does not say which" in plain(unswitched.cpu)
    wide = read(Log().exception(14, 2, WIDE).death(6, 0, replace(WIDE, task=0x7_4000, rip=0x20_9000))).report
    assert "does not say which" in plain(wide.cpu)
