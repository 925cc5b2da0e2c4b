"""What a `-d int` log says: the forms in which a switch dies, and the noise that is no cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from analyze.storm_log import (
    FIRMWARE_CR3,
    GDT,
    HANDLER,
    IDT,
    NEW_CR3,
    RESET,
    STACK,
    SWITCH,
    TRIPLE,
    firmware,
    record,
    storm,
)

from cr3scope.diagnose.logged import findings_of_log
from cr3scope.errors import UnusableInput
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import NO_EXCEPTION
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.int_log import count as counting
from cr3scope.input.logs.int_log.record import read_kinds, read_records
from cr3scope.input.logs.log_report import LogReport
from cr3scope.render.finding import title
from cr3scope.render.chain import lines
from cr3scope.render.message import plain
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

FETCH_DENIED = Fault(14, 0x11, SWITCH, SWITCH, NEW_CR3)
Read = Callable[..., LogReport]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Observes a log made of the given pieces."""

    def observe_pieces(*pieces: str, cr3: int | None = NEW_CR3) -> LogReport:
        path = tmp_path / "interrupts.log"
        path.write_text("".join(pieces))
        return observe(path, cr3)

    return observe_pieces


def tick(number: int) -> str:
    """A timer's interrupt of the code that goes on."""
    return record(number, 0x20, rip=SWITCH + 5, old=None)


def unmapped_idt(first: int = 150) -> list[str]:
    return [
        record(first, 14, 0x11, cr2=SWITCH),
        record(first + 1, 8, cr2=IDT + 14 * 16, old=14),
        TRIPLE,
    ]


@pytest.mark.parametrize("cr3", [NEW_CR3, None, NEW_CR3 | 1 << 63])
def test_form_a_unmapped_idt_is_a_triple_fault_that_names_the_gate(
    read: Read, cr3: int | None
) -> None:
    report = read(*firmware(), *unmapped_idt(), cr3=cr3)
    assert report.first == FETCH_DENIED
    assert report.ending is Ending.TRIPLE_FAULT
    assert report.records == 2
    assert report.notes == ()
    assert f"IDT gate 14 at {IDT + 14 * 16:#x} cannot be read" in lines(report)[0]
    assert "IDT is not readable" in plain(report.detail)


def test_form_b_handler_not_executable_is_a_storm_and_the_first_record_its_cause(
    read: Read,
) -> None:
    report = read(*firmware(), *storm(85, 150))
    assert report.first == FETCH_DENIED
    assert report.ending is Ending.STORM
    assert report.records == 87
    words = "\n".join(lines(report))
    assert f"RIP={HANDLER:#x} again and again, 84 records" in words
    assert "RSP falls" in words and "#GP" in words and "#DF" in words and "triple fault" in words


def test_storm_on_an_ist_stack_is_told_to_have_no_end(read: Read) -> None:
    report = read(*firmware(), *storm(85, 150, falling=False))
    assert report.ending is Ending.STORM
    assert "does not end by itself" in "\n".join(lines(report))


def test_storm_whose_every_fault_becomes_a_double_fault_is_one(read: Read) -> None:
    """With gates that name an unusable stack: #PF, #DF, and the handler of #DF cannot be fetched."""
    rounds = (
        record(150 + 2 * n, 14, 0x11, rip=HANDLER, cr2=HANDLER)
        + record(151 + 2 * n, 8, rip=HANDLER, cr2=(1 << 64) - 8, old=14)
        for n in range(20)
    )
    report = read(*firmware(149), record(149, 14, 0x11, cr2=SWITCH), *rounds)
    assert report.ending is Ending.STORM
    assert report.first == FETCH_DENIED
    assert "RSP stays" in " ".join(lines(report))
    few = (record(150 + n, 14 if n % 2 else 8, 0x11, rip=HANDLER, cr2=HANDLER) for n in range(20))
    assert read(*firmware(), *few).ending is not Ending.STORM, "two exceptions in turn are no row of equal ones"


def test_form_c_bad_stack_is_told_apart_from_an_unmapped_idt(read: Read) -> None:
    push = STACK - 8
    report = read(
        *firmware(),
        record(150, 14, 2, cr2=push),
        record(151, 8, cr2=push, old=14),
        TRIPLE,
    )
    assert report.ending is Ending.TRIPLE_FAULT
    assert report.first == Fault(14, 2, push, SWITCH, NEW_CR3)
    assert "stack itself is bad" in plain(report.detail)


def test_form_d_one_exception_that_nothing_follows_was_delivered(read: Read) -> None:
    """Whether somebody handled it nobody knows."""
    report = read(*firmware(), record(150, 14, 0x11, cr2=SWITCH))
    assert (report.first, report.ending, report.records) == (FETCH_DENIED, Ending.DELIVERED, 1)


def test_form_d_faults_of_the_handler_itself_change_nothing(read: Read) -> None:
    search = record(151, 14, 0, rip=HANDLER, rsp=STACK - 0x300, cr2=0xFFFF_9000_0000_0000)
    report = read(*firmware(), record(150, 14, 0x11, cr2=SWITCH), search)
    assert (report.first, report.ending) == (FETCH_DENIED, Ending.DELIVERED)


def test_form_e_protection_fault_with_an_unmapped_idt(read: Read) -> None:
    report = read(
        *firmware(),
        record(150, 13, 0),
        record(151, 14, 0, cr2=IDT + 13 * 16, old=13),
        record(152, 8, cr2=IDT + 14 * 16, old=14),
        TRIPLE,
    )
    assert report.first == Fault(13, 0, None, SWITCH, NEW_CR3)
    assert report.ending is Ending.TRIPLE_FAULT
    assert "IDT gate 13" in lines(report)[0] and "IDT gate 14" in lines(report)[1]


def test_unreadable_gdt_is_named(read: Read) -> None:
    report = read(
        *firmware(), record(150, 3), record(151, 8, cr2=GDT + 0x38, old=14), TRIPLE
    )
    assert "GDT entry 0x38" in lines(report)[0] and "GDT is not readable" in plain(report.detail)


@pytest.mark.parametrize("stale", [IDT + 0x100, GDT + 0x10, STACK - 8], ids=["IDT", "GDT", "stack"])
def test_a_cr2_of_an_older_fault_blames_nothing(read: Read, stale: int) -> None:
    """What delivery raised was no page fault: no gate, or one that the IDT's limit leaves out."""
    report = read(*firmware(), record(150, 13, 0x32, cr2=stale), record(151, 8, cr2=stale, old=13), TRIPLE)
    assert report.ending is Ending.TRIPLE_FAULT
    assert "under the new CR3" not in plain(report.detail or "")


def test_kernel_that_provokes_faults_and_recovers_ran(read: Read) -> None:
    probes = [
        record(150 + i, 14, 3, rip=HANDLER + i, rsp=STACK, cr2=0x1000 * i) for i in range(100)
    ]
    report = read(*firmware(), *probes, tick(250))
    assert report.ending is None
    assert report.records == 100
    cut = read(*firmware(), *probes)
    assert cut.ending is Ending.DELIVERED and cut.first == Fault(14, 3, 99 * 0x1000, HANDLER + 99, NEW_CR3)
    assert cut.is_routine and any("99 exceptions came first and were handled" in plain(note) for note in cut.earlier), cut.earlier
    assert len(report.exceptions) == 64
    assert "all handled" in plain(report.detail)


def int_instruction(number: int, vector: int) -> str:
    """QEMU writes no `check_exception` line for one."""
    return record(number, vector, rip=SWITCH + 20).split("\n", 1)[1].replace(" i=0 ", " i=1 ")


@pytest.mark.parametrize("timer", [0x20, 8, 2])
def test_interrupts_between_handled_exceptions_are_counted_apart(read: Read, timer: int) -> None:
    pieces = []
    for i in range(30):
        pieces.append(record(150 + 3 * i, 14, 3, rip=HANDLER + i, cr2=0x1000 * i))
        pieces.append(record(151 + 3 * i, timer, rip=SWITCH + i, old=None))
        pieces.append(int_instruction(152 + 3 * i, 3))
    report = read(*firmware(), *pieces)  # what comes after the last exception is not between them
    assert (report.ending, report.records) == (None, 30)
    assert plain(report.detail) == "30 exceptions, all handled, and 58 interrupts"
    assert report.counted is not None and report.counted.interrupts == 58


def test_interrupts_are_not_among_what_came_before_the_fatal_exception(read: Read) -> None:
    pieces = [record(150, 14, 3, rip=HANDLER, cr2=0x1000)]
    pieces += [record(151 + i, 0x20, rip=SWITCH + i, old=None) for i in range(20)]
    report = read(*firmware(), *pieces, *unmapped_idt(171))
    assert any("1 exception came first and was handled" in plain(note) for note in report.earlier), report.earlier


def test_a_timer_between_an_exception_and_its_announcement_does_not_change_the_count(read: Read) -> None:
    """Another CPU may write between the two."""
    announced, exception = record(151, 14, 3, rip=HANDLER, cr2=0x2000).split("\n", 1)
    ticks = [record(150, 14, 3, rip=HANDLER + 9, cr2=0x1000), announced + "\n",
             record(152, 0x20, rip=SWITCH, old=None), exception]
    report = read(*firmware(), *ticks, record(153, 14, 3, rip=HANDLER + 1, cr2=0x3000), tick(154))
    assert plain(report.detail) == "3 exceptions, all handled, and 1 interrupt"


def test_records_that_were_left_out_make_the_count_a_least_one(read: Read) -> None:
    pieces = [record(number, 14, 3, rip=HANDLER + number, cr2=0x1000) for number in (150, 151, 900)]
    assert plain(read(*firmware(), *pieces, tick(901)).detail) == "at least 3 exceptions, all handled"


def test_of_a_stretch_too_long_to_read_the_kinds_are_not_told(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_BYTES", 2000)
    pieces = [record(150 + i, 14, 3, rip=HANDLER + i, cr2=0x1000) for i in range(9)]
    report = read(*firmware(), *pieces, tick(159))
    assert (report.records, plain(report.detail)) == (9, "9 exceptions and interrupts, all handled")


def test_kinds_are_told_alike_with_and_without_the_register_dump(read: Read, tmp_path: Path) -> None:
    pieces = [record(i, 14 if i % 3 else 0x20, 3, rip=HANDLER + i, cr2=i, old=None if i % 3 == 0 else NO_EXCEPTION)
              for i in range(3000)]  # more than one window
    text = "".join(pieces).encode()
    with_dump = [(each.offset, each.is_exception) for each in read_records(text)]
    assert list(read_kinds(text, 0, len(text))) == with_dump and len(with_dump) == 3000
    assert list(read_kinds(text, 5000, 90000)) == [each for each in with_dump if 5000 <= each[0] < 90000]
    report = read(text.decode(), record(3000, 14, 3, rip=SWITCH, cr2=1), tick(3001))
    assert report.counted == Count(3000, 2001, 999)


def test_bytes_that_only_look_like_a_record_are_not_counted(read: Read) -> None:
    hostile = "v: v=: v=0e e=\n     : v=0e\n99999999999999: v=0e e=0000 i=0 cpl=0\n\x00\xff: v=\n"
    first, last = (record(number, 14, 3, rip=HANDLER + number, cr2=0x1000) for number in (150, 151))
    assert plain(read(*firmware(), first, hostile, last, tick(152)).detail) == "2 exceptions, all handled"


def test_one_fault_and_then_timer_interrupts_of_the_same_code_ran(read: Read) -> None:
    tick = record(151, 0x20, rip=SWITCH + 9, old=None)
    assert read(*firmware(), record(150, 14, 0, cr2=1), tick).ending is None


def test_death_after_handled_exceptions_names_the_fatal_one(read: Read) -> None:
    probes = [record(150 + i, 14, 3, rip=HANDLER + i, cr2=0x1000 * i) for i in range(100)]
    report = read(*firmware(), *probes, *unmapped_idt(250))
    assert report.first == report.fatal == FETCH_DENIED
    assert report.exceptions[0] == Fault(14, 3, 0, HANDLER, NEW_CR3)
    assert report.ending is Ending.TRIPLE_FAULT
    assert any("100 exceptions came first and were handled" in plain(note) for note in report.earlier)


def test_storm_after_handled_exceptions_is_found_at_the_end(read: Read) -> None:
    probes = [record(150 + i, 14, 3, rip=HANDLER + 9 + i, cr2=0x1000 * i) for i in range(100)]
    report = read(*firmware(), *probes, *storm(300, 250, falling=False))
    assert report.ending is Ending.STORM


@pytest.mark.parametrize("cr3", [NEW_CR3, None])
@pytest.mark.parametrize("vector", [0x20, 0x68, 8])
def test_interrupts_before_the_switch_are_no_cause_whatever_their_vector(
    read: Read, vector: int, cr3: int | None
) -> None:
    ticks = [record(i, vector, cr3=FIRMWARE_CR3, old=None) for i in range(240)]
    report = read(RESET, *ticks, cr3=cr3)
    assert (report.first, report.ending, report.records) == (None, None, 0)


def test_interrupts_of_any_vector_and_of_software_are_no_exceptions(read: Read) -> None:
    tick = record(151, 8, rip=SWITCH + 9, old=None)
    breakpoint_ = int_instruction(152, 3)
    report = read(*firmware(), record(150, 14, 0x11, cr2=SWITCH), tick, breakpoint_)
    assert report.exceptions == (FETCH_DENIED,)
    assert report.ending is None


def test_interrupt_is_the_cause_only_if_its_gate_is_what_the_next_fault_reads(read: Read) -> None:
    tick = record(150, 0x20, old=None)
    died = [
        record(151, 14, 0, cr2=IDT + 0x20 * 16),
        record(152, 8, cr2=IDT + 14 * 16, old=14),
        TRIPLE,
    ]
    guilty = findings_of_log(read(*firmware(), tick, *died))
    assert [(one.rule, title(one)) for one in guilty] == [
        ("missing-cli", f"interrupt 20h came while its gate at {IDT + 0x20 * 16:#x} cannot be read")
    ]
    innocent = findings_of_log(read(*firmware(), tick, *unmapped_idt(151)))
    assert [one.rule for one in innocent] == ["idt-unmapped"]


def test_smm_dumps_between_firmware_and_switch_are_set_aside(read: Read) -> None:
    dump = record(0, 0x20, cr3=0x7FFB000).split("\n", 2)[2]
    pairs = [f"SMM: enter\n{dump}SMM: after RSM\n{dump}" for _ in range(200)]
    report = read(*firmware(), *pairs, *unmapped_idt(), *pairs[:1])
    assert (report.first, report.ending, report.records) == (
        FETCH_DENIED, Ending.TRIPLE_FAULT, 2,
    )  # fmt: skip


def test_triple_fault_is_known_without_the_word_of_cpu_reset(read: Read) -> None:
    report = read(*firmware(), *unmapped_idt()[:2], "check_exception old: 0x8 new 0xe\n")
    assert report.ending is Ending.TRIPLE_FAULT


def test_double_fault_that_is_handled_is_no_triple_fault(read: Read) -> None:
    assert read(*firmware(), *unmapped_idt()[:2]).ending is Ending.DELIVERED


def test_machine_that_boots_over_and_over_is_judged_by_its_deaths(read: Read) -> None:
    boots: list[str] = []
    for first in (0, 52, 104):
        boots += [*firmware(50, first), *unmapped_idt(first + 50)]
    for cr3 in (NEW_CR3, None):
        report = read(*boots, RESET, cr3=cr3)
        assert (report.first, report.ending) == (FETCH_DENIED, Ending.TRIPLE_FAULT)


@pytest.mark.parametrize("eax", ["EAX", "env->regs[R_EAX]", "RAX"])
def test_tail_of_a_record_may_differ_between_versions_of_qemu(read: Read, eax: str) -> None:
    report = read(*firmware(), record(150, 13, 0, eax=eax))
    assert report.first == Fault(13, 0, None, SWITCH, NEW_CR3)


def test_death_under_another_cr3_than_planned_is_told_so(read: Read) -> None:
    report = read(*firmware(), *unmapped_idt(), cr3=0x1234000)
    assert report.first == FETCH_DENIED
    assert "CR3=0x1234000 never stands in the log" in plain(report.notes[0])


def test_exception_that_the_firmware_handled_before_the_switch_is_no_news(read: Read) -> None:
    report = read(record(0, 3, cr3=FIRMWARE_CR3), *firmware(50, 1), cr3=NEW_CR3)
    assert (report.first, report.ending) == (None, None)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"hello\n", b"@c3s1 0 begin #00000000\n"])
def test_what_is_no_interrupt_log_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.log"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match="odd.log: "):
        observe(path)


@pytest.mark.parametrize("name", ["missing.log", "."])
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableInput, match="directory"):
        observe(tmp_path / name)


@pytest.mark.parametrize(("dead", "is_boot_cpu"), [(0x1000, True), (0x2000, False)], ids=["its own", "a neighbour's"])
def test_a_stack_near_that_of_another_task_register_is_no_word_of_the_boot_cpu(read: Read, dead: int, is_boot_cpu: bool) -> None:
    def loaded(text: str, base: int) -> str:
        return text.replace("TR =0000 0000000000000000", f"TR =0040 {base:016x}")

    report = read(
        RESET, RESET.replace("(CPU 0)", "(CPU 1)"), *(loaded(record(n, 0x20, cr3=FIRMWARE_CR3, old=None), 0x1000) for n in range(9)),
        loaded(record(9, 13, 0x18, rsp=STACK - 0x2000), dead),
    )  # fmt: skip
    assert ("the boot CPU" in plain(report.cpu)) == is_boot_cpu, plain(report.cpu)


def test_the_records_of_a_part_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the end of a log is asked of the same bytes many times."""
    text = b"".join(each.encode() for each in (*record(1, 14, rip=0x1234, rsp=0x9000), *record(2, 13, rip=0x1234, rsp=0x9000)))
    first = [*read_records(text, 7)]
    monkeypatch.delattr("cr3scope.input.logs.int_log.record._record")
    assert [*read_records(bytes(bytearray(text)), 7)] == first and len(first) == 2
