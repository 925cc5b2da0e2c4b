"""A log that is read event by event says what QEMU's says, which is found without reading all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from analyze.storm_log import FIRMWARE_CR3, IDT, NEW_CR3, SWITCH, TRIPLE, firmware, record, storm
from boot.reference import ROOT

from cr3scope.input.logs import observe as observe_module
from cr3scope.input.logs.event import NO_DUMP, Event, InterruptRecord, Loaded, RegisterDump, TripleFault
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.int_log.record import read_records
from cr3scope.input.logs.log_format import Format, Story
from cr3scope.input.logs.logfile import WINDOW, LogFile
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.observe import report_on
from cr3scope.input.logs.report import all_formats, formats_of
from cr3scope.input.logs.stream import boots_of_events, story_of
from cr3scope.render.chain import lines
from cr3scope.render.message import plain
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

FIRMWARE = "".join(firmware(20))
DEAD = record(21, 8, cr2=IDT + 14 * 16, old=14) + TRIPLE
LOGS = {
    "storm that ends": FIRMWARE + "".join(storm(100, 20)),
    "storm without an end": FIRMWARE + "".join(storm(100, 20, falling=False)),
    "triple fault": FIRMWARE + record(20, 14, 0x11, cr2=SWITCH) + DEAD,
    "handled": FIRMWARE + record(20, 14, 0x2, cr2=0x5000) + record(21, 13, rip=SWITCH + 9),
    "interrupt after it": FIRMWARE + record(20, 14, 0x2, cr2=0x5000) + record(21, 0x20, rip=SWITCH + 5, old=None),
    "interrupts between": FIRMWARE + record(20, 14, 0x2, cr2=0x5000) + record(21, 0x20, rip=SWITCH + 5, old=None)
    + record(22, 14, 0x2, rip=SWITCH + 6, cr2=0x6000) + record(23, 0x20, rip=SWITCH + 5, old=None),
    "interrupts before the fatal one": FIRMWARE + record(20, 14, 0x2, rip=SWITCH + 6, cr2=0x6000)
    + record(21, 0x20, rip=SWITCH + 5, old=None) + record(22, 14, 0x11, cr2=SWITCH) + DEAD.replace("21: v", "23: v"),
    "no exception": FIRMWARE,
}
GOLDEN = sorted((ROOT / "tests/captures").glob("*.interrupts.log"))


def qemus_events(log: LogFile) -> Iterator[Event]:
    """All of a small log of QEMU's."""
    data = log.read(0, log.size)
    ends = [TripleFault(at) for at in range(len(data)) if data.startswith(b"Triple fault", at)]
    yield from sorted((*read_records(data), *ends), key=lambda event: event.offset)


def both(path: Path, cr3: int | None) -> list[LogReport]:
    with LogFile(path) as log:
        return [observe(path, cr3), report_on(boots_of_events(qemus_events(log), cr3), cr3)]


def facts(report: LogReport) -> tuple[object, ...]:
    """What does not depend on lines that are no events: resets, and the numbers of interrupts."""
    first = report.switch
    return (report.ending, report.first, report.fatal, report.exceptions, report.followed, report.saw_interrupts,
            lines(report), plain(report.detail or ''), tuple(map(plain, report.notes)), report.records, report.counted, first and (first.cr3, first.before))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cr3", [None, NEW_CR3, FIRMWARE_CR3, 0x1234000])
@pytest.mark.parametrize("name", LOGS)
def test_a_stream_of_events_says_what_qemus_log_says(name: str, cr3: int | None, tmp_path: Path) -> None:
    path = tmp_path / "int.log"
    path.write_text(LOGS[name])
    ours, streamed = both(path, cr3)
    before = ours.switch and ours.switch.cr3 == FIRMWARE_CR3  # QEMU's dumps at a reset are no events
    if before:
        assert facts(ours)[:-1] == facts(streamed)[:-1]
    else:
        assert facts(ours) == facts(streamed)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_so_do_the_logs_of_each_release(path: Path) -> None:
    ours, streamed = both(path, None)
    assert ours.ending is not None
    assert facts(ours) == facts(streamed)


def story(_folder: Path, *events: Event, cr3: int | None = None) -> Story:
    return story_of(events, cr3, "made-up")


def fault(offset: int, vector: int = 14, cr2: int | None = SWITCH) -> InterruptRecord:
    return InterruptRecord(offset, 0, vector, 0x10, RegisterDump(rip=SWITCH, rsp=0x8000, cr2=cr2))


def test_records_without_a_cr3_are_under_the_last_one_that_was_loaded(tmp_path: Path) -> None:
    report = story(tmp_path, Loaded(1, 0x1000), Loaded(2, 0x2000 | 1 << 63), fault(3)).report
    assert report.switch is not None and (report.switch.cr3, report.switch.before, report.switch.offset) == (0x2000, 0x1000, 2)
    assert report.first is not None and report.first.cr3 == 0x2000 and report.source == "made-up"


def test_a_double_fault_is_of_the_exception_before_it(tmp_path: Path) -> None:
    report = story(tmp_path, Loaded(1, 0x1000), fault(2), fault(3, 8, None), TripleFault(4)).report
    assert report.ending is Ending.TRIPLE_FAULT and report.fatal == report.first
    assert lines(report)[0].startswith("while #PF was delivered: #DF")


def test_a_triple_fault_of_another_address_space_is_not_this_ones(tmp_path: Path) -> None:
    events = (Loaded(1, 0x1000), fault(2), Loaded(3, 0x2000), fault(4), TripleFault(5))
    assert story(tmp_path, *events, cr3=0x1000).report.ending is Ending.DELIVERED
    assert story(tmp_path, *events, cr3=0x2000).report.ending is Ending.TRIPLE_FAULT


def test_a_storm_keeps_a_bounded_part_and_counts_all(tmp_path: Path) -> None:
    report = story(tmp_path, Loaded(1, 0x1000), *map(fault, range(2, 5002))).report
    assert (report.ending, report.records, len(report.exceptions)) == (Ending.STORM, 5000, 64)
    assert "5000 records" in lines(report)[0]


def test_the_planned_address_space_is_kept_among_any_number_of_others(tmp_path: Path) -> None:
    others = (event for number in range(1000) for event in (Loaded(number, 0x10000 + (number << 12)), fault(number)))
    events = (Loaded(1, 0x1000), fault(2, 13, None), *others)
    report = story(tmp_path, *events, cr3=0x1000).report
    assert report.first is not None and report.first.vector == 13
    last = story(tmp_path, *events).report
    assert last.switch is not None and last.switch.cr3 == 0x10000 + (999 << 12)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((), Status.INCOMPLETE),
        ((Loaded(1, 0x1000),), Status.HEALTHY),
        ((TripleFault(1),), Status.FAULTED),
        ((Loaded(1, 0x1000), TripleFault(2)), Status.FAULTED),
    ],
)
def test_a_log_without_an_exception_still_tells(events: tuple[Event, ...], status: Status, tmp_path: Path) -> None:
    assert judge_log(story(tmp_path, *events)).status is status


def test_each_module_of_the_folder_is_a_format_and_a_log_of_one_is_of_no_other() -> None:
    known = list(all_formats())
    assert known and all(isinstance(one, Format) for one in known)
    for path in GOLDEN:
        with LogFile(path) as log:
            assert len(formats_of(log)) == 1, path.name
            assert sum(one.is_in(log) for one in known if not one.is_guess) == 1, path.name


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nbb\n", [(0, b"a"), (2, b"bb")]),
        (b"a\r\n\nend", [(0, b"a"), (3, b""), (4, b"end")]),
        (b"\n", [(0, b"")]),
    ],
)
def test_lines_have_their_offsets(content: bytes, lines: list[tuple[int, bytes]], tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(content)
    with LogFile(tmp_path / "log") as log:
        assert list(log.lines()) == lines


def joined(pieces: Callable[[], Iterator[tuple[int, bytes]]]) -> bytes:
    out = bytearray()
    for at, line in pieces():
        out += b"\n" * (at - len(out)) + line
    return bytes(out)


def test_lines_across_windows_lose_nothing(tmp_path: Path) -> None:
    whole = b"\n".join(chain((b"x" * 999 for _ in range(3000)), [b"y" * (2 * WINDOW + 5), b"end"]))
    (tmp_path / "log").write_bytes(whole)
    with LogFile(tmp_path / "log") as log:
        assert joined(log.lines) == whole
        assert max(len(line) for _, line in log.lines()) <= WINDOW


def test_a_cpu_whose_place_nobody_knows_is_not_looked_for_in_the_bios(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range that is asked for what is no number goes through all of its numbers: five milliseconds for each report."""

    class Numbers:
        def __contains__(self, place: object) -> bool:
            assert isinstance(place, int)
            return True

    monkeypatch.setattr(observe_module, "_BIOS", Numbers())
    assert not observe_module.is_reset_of_firmware(NO_DUMP)
