"""The log that a run keeps is bounded, says what it lacks, and QEMU never waits for us."""

from __future__ import annotations

import io
import os
import random
import select
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from analyze.storm_log import (
    FIRMWARE_CR3,
    HANDLER,
    NEW_CR3,
    SWITCH,
    firmware,
    record,
    storm,
)

from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.int_log import log_filter
from cr3scope.input.logs.int_log.log_filter import LogFilter
from cr3scope.qemu.log_pipe import LogPipe
from cr3scope.input.logs.int_log.storm import STORM_RECORDS, Storm, StormDetector
from cr3scope.render.chain import lines
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

WAIT_SECONDS = 20


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules at a size that tests can afford."""
    monkeypatch.setattr(log_filter, "HEAD_BYTES", 200_000)
    monkeypatch.setattr(log_filter, "WINDOW_BYTES", 100_000)
    monkeypatch.setattr(log_filter, "TAIL_BYTES", 50_000)


def filtered(pieces: Iterable[str], seed: int | None = None) -> bytes:
    """What is kept of a log that comes in one piece, or in pieces of random sizes."""
    data = "".join(pieces).encode()
    out = io.BytesIO()
    log = LogFilter(out)
    dice = random.Random(seed)
    while data:
        size = len(data) if seed is None else dice.randrange(1, 5000)
        log.feed(data[:size])
        data = data[size:]
    log.finish()
    return out.getvalue()


@pytest.mark.usefixtures("small_limits")
def test_log_below_the_limit_is_kept_to_the_byte() -> None:
    text = "".join(chain(firmware(50), storm(20, 50))) + "no line end"
    assert filtered([text]) == text.encode()
    assert filtered([text], seed=1) == text.encode()


@pytest.mark.slow
@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("seed", [1, 2])
def test_storm_is_cut_to_its_beginning_and_its_end_and_reads_the_same(
    tmp_path: Path, seed: int
) -> None:
    whole = "".join(chain(firmware(), storm(3000, 150)))
    kept = filtered([whole], seed)
    assert len(kept) < 450_000 < len(whole)
    assert kept.startswith(whole[:200_000].encode()) and kept.endswith(whole[-49_000:].encode())
    reports = []
    for content in (kept, whole.encode()):
        (tmp_path / "log").write_bytes(content)
        report = observe(tmp_path / "log", NEW_CR3)
        reports.append((report.first, report.ending, report.records, lines(report)))
    assert reports[0] == reports[1]
    assert reports[0][0] == Fault(14, 0x11, SWITCH, SWITCH, NEW_CR3)


@pytest.mark.usefixtures("small_limits")
def test_marker_says_how_much_is_missing() -> None:
    whole = "".join(chain(firmware(), storm(3000, 150)))
    kept = filtered([whole])
    marker = next(line for line in kept.split(b"\n") if line.startswith(b"[cr3scope: "))
    records, size = (int(word) for word in marker.split() if word.isdigit())
    assert size == len(whole) - (len(kept) - len(marker) - 1)
    assert records == whole.count(": v=") - kept.count(b": v=")


@pytest.mark.usefixtures("small_limits")
def test_switch_after_endless_firmware_interrupts_is_kept(tmp_path: Path) -> None:
    kept = filtered(chain(firmware(1000), storm(1000, 1000)), seed=3)
    (tmp_path / "log").write_bytes(kept)
    report = observe(tmp_path / "log", NEW_CR3)
    assert report.first == Fault(14, 0x11, SWITCH, SWITCH, NEW_CR3)
    assert report.ending is Ending.STORM
    assert report.records == 1002


@pytest.mark.usefixtures("small_limits")
def test_log_of_ever_new_cr3_values_stays_bounded() -> None:
    pieces = (record(i, 32, cr3=0x1000 * i, old=None) for i in range(1, 4000))
    assert len(filtered(pieces)) < 200_000 + (log_filter.MAX_WINDOWS + 2) * 150_000


@pytest.mark.usefixtures("small_limits")
def test_line_without_an_end_stays_bounded() -> None:
    out = io.BytesIO()
    log = LogFilter(out)
    for _ in range(100):
        log.feed(b"x" * 10_000)
    log.finish()
    assert len(out.getvalue()) < 400_000


def fed(pieces: Iterable[str]) -> Storm | None:
    detector = StormDetector()
    data = "".join(pieces).encode()
    step = 300_000
    for start in range(0, len(data), step):
        found = detector.feed(data[start : start + step])
        if found is not None:
            return found
    return None


def test_storm_whose_stack_falls_is_known_to_be_finite() -> None:
    assert fed(storm(STORM_RECORDS + 400, 0)) == Storm(14, HANDLER, finite=True)


def test_storm_on_the_same_stack_is_known_to_be_endless() -> None:
    found = fed(storm(STORM_RECORDS + 400, 0, falling=False))
    assert found == Storm(14, HANDLER, finite=False)


def test_fewer_equal_exceptions_are_no_storm() -> None:
    assert fed(storm(STORM_RECORDS - 400, 0)) is None


def test_loop_that_touches_fresh_pages_is_no_storm() -> None:
    assert fed(record(i, 14, 2, cr2=0x1000 * i) for i in range(STORM_RECORDS + 400)) is None


def test_timer_interrupts_of_an_idle_loop_are_no_storm() -> None:
    assert fed(record(i, 32, cr3=NEW_CR3, old=None) for i in range(STORM_RECORDS + 400)) is None


def open_writer(fifo: Path) -> int:
    """Opens as QEMU does; without a reader that would fail at once."""
    return os.open(fifo, os.O_WRONLY)


def test_pipe_keeps_the_log_and_tells_of_the_storm(tmp_path: Path) -> None:
    pipe = LogPipe(tmp_path / "fifo", tmp_path / "log")
    writer = open_writer(tmp_path / "fifo")
    data = "".join(chain(firmware(), storm(STORM_RECORDS + 2000, 150))).encode()
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]
    ready = select.select([pipe], [], [], WAIT_SECONDS)[0]
    assert ready, f"no word of the storm within {WAIT_SECONDS} s"
    assert pipe.storm == Storm(14, HANDLER, finite=True)
    os.close(writer)
    pipe.finish()
    assert pipe.records == data.count(b": v=")
    report = observe(tmp_path / "log", NEW_CR3)
    assert (report.ending, report.records) == (Ending.STORM, STORM_RECORDS + 2002)


def test_pipe_that_nobody_wrote_to_is_finished_at_once(tmp_path: Path) -> None:
    pipe = LogPipe(tmp_path / "fifo", tmp_path / "log")
    pipe.finish()
    assert (tmp_path / "log").read_bytes() == b""


def test_pipe_takes_what_was_written_after_an_earlier_writer_left(tmp_path: Path) -> None:
    pipe = LogPipe(tmp_path / "fifo", tmp_path / "log")
    for line in (b"one\n", b"two\n"):
        writer = open_writer(tmp_path / "fifo")
        os.write(writer, line)
        os.close(writer)
    pipe.finish()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_full_disk_is_told_and_the_writer_is_not_held_up(tmp_path: Path) -> None:
    """And what only the pipe still tells is seen."""
    pipe = LogPipe(tmp_path / "fifo", Path("/dev/full"))
    writer = open_writer(tmp_path / "fifo")
    data = memoryview("".join(chain(firmware(2000), storm(STORM_RECORDS + 2000, 2000))).encode())
    while data:
        data = data[os.write(writer, data) :]
    os.close(writer)
    pipe.finish()
    assert pipe.loss == "No space left on device"
    assert pipe.storm == Storm(14, HANDLER, finite=True)


def test_firmware_cr3_is_no_new_one() -> None:
    """The first CR3 of a log opens no window: the head is kept anyway."""
    out = io.BytesIO()
    log = LogFilter(out)
    log.feed(record(0, 32, cr3=FIRMWARE_CR3, old=None).encode())
    log.finish()
    assert out.getvalue().count(b"[cr3scope") == 0


@pytest.mark.parametrize("value", [b"CR3=%064d \n", b"CR3=%016d \n", b"CR3=%064d "])
def test_lines_that_no_qemu_writes_cost_no_more_than_others(value: bytes) -> None:
    """Of a value that none of a register's can be nothing is kept, and after the last window no value is looked at."""
    count = 500
    line = value * count
    log = LogFilter(io.BytesIO())
    log.feed(b"CR3=1 \n")
    for turn in range(20):
        log.feed(line % tuple(range(turn * count, (turn + 1) * count)))
    assert len(log._seen) <= log_filter.MAX_WINDOWS + 1
