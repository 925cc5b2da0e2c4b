"""The switch is found without reading the log: as exactly as by reading all of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from analyze.storm_log import FIRMWARE_CR3, NEW_CR3, firmware, record, storm, storm_log

from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.int_log import switch
from cr3scope.input.logs.logfile import LogFile

MANY = 9000  # records: some 13 MB, more than is searched from the start
MOST_READ = 20 << 20


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much every read of a log asked for."""
    sizes: list[int] = []
    read = LogFile.read

    def counted(log: LogFile, start: int, size: int) -> bytes:
        data = read(log, start, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(LogFile, "read", counted)
    return sizes


def write(path: Path, *pieces: Iterator[str] | list[str]) -> Path:
    with path.open("w") as out:
        out.writelines(chain(*pieces))
    return path


def first_by_reading_all(path: Path) -> int:
    return path.read_bytes().find(b"CR3=%016x" % NEW_CR3)


def test_storm_ten_times_as_long_costs_no_more_reading(
    tmp_path: Path, bytes_read: list[int]
) -> None:
    costs = []
    for size in (3 << 20, 30 << 20):
        bytes_read.clear()
        storm_log(tmp_path / "log", size)
        assert observe(tmp_path / "log").records > size // 2000
        costs.append(sum(bytes_read))
    assert costs[1] <= 1.2 * costs[0]
    assert costs[1] < 10 << 20


@pytest.mark.slow
def test_switch_late_in_a_large_log_is_found_by_bisection(
    tmp_path: Path, bytes_read: list[int]
) -> None:
    path = write(tmp_path / "log", firmware(6 * MANY), storm(100, 6 * MANY))
    assert path.stat().st_size > 3 * MOST_READ
    with LogFile(path) as log:
        assert switch.first_with(log, NEW_CR3) == first_by_reading_all(path)
    assert sum(bytes_read) < MOST_READ


def test_new_cr3_that_comes_and_goes_is_found_where_it_first_came(tmp_path: Path) -> None:
    short = [record(MANY, 14, 0x11)] * 600
    path = write(
        tmp_path / "log", firmware(MANY), short, firmware(2000, MANY + 600), storm(MANY, 2 * MANY)
    )
    with LogFile(path) as log:
        assert switch.first_with(log, NEW_CR3) == first_by_reading_all(path)


def test_log_that_ends_under_another_cr3_is_searched_from_the_start(tmp_path: Path) -> None:
    path = write(tmp_path / "log", firmware(MANY), storm(50, MANY), firmware(MANY, 2 * MANY))
    with LogFile(path) as log:
        place = switch.first_with(log, NEW_CR3)
        assert place == first_by_reading_all(path)
        whole = path.read_bytes()
        assert switch.last_with(log, NEW_CR3, place) == whole.rfind(b"CR3=%016x" % NEW_CR3)


@pytest.mark.parametrize("interrupts", [0, 1, 10])
def test_first_and_last_dump_of_a_small_log_are_exact(tmp_path: Path, interrupts: int) -> None:
    path = write(tmp_path / "log", firmware(interrupts), storm(30, interrupts))
    whole = path.read_bytes()
    with LogFile(path) as log:
        place = switch.first_with(log, NEW_CR3)
        assert place == first_by_reading_all(path)
        assert switch.last_with(log, NEW_CR3, place) == whole.rfind(b"CR3=%016x" % NEW_CR3)
        assert switch.first_with(log, 0xABC000) is None


@pytest.mark.parametrize("offset", [0, 1, 1500, 3000, 10**9])
def test_cr3_of_the_neighbouring_dumps_is_told_from_any_place(tmp_path: Path, offset: int) -> None:
    path = write(tmp_path / "log", [record(0, 32, cr3=FIRMWARE_CR3)], [record(1, 14)])
    whole = path.read_bytes()
    with LogFile(path) as log:
        after = whole.find(b"CR3=", offset)
        expected = int(whole[after + 4 : after + 20], 16) if after >= 0 else None
        assert switch.dumped_after(log, offset) == expected


def test_find_sees_what_lies_across_two_windows(tmp_path: Path) -> None:
    from cr3scope.input.logs.logfile import WINDOW

    for place in range(WINDOW - 6, WINDOW + 2):
        path = tmp_path / "log"
        path.write_bytes(b"." * place + b"needle" + b"." * (WINDOW + 50))
        with LogFile(path) as log:
            assert log.find(b"needle") == place
            assert log.rfind(b"needle") == place
            assert log.find(b"needle", place + 1) == -1
            assert log.rfind(b"needle", 0, place + 5) == -1
