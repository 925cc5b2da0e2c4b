"""A log may be cut anywhere, come in any encoding, hold anything: no exception, no endless time."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path

import pytest
from analyze.storm_log import NEW_CR3, SWITCH, firmware, record, storm
from boot.reference import takes_all

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.log_report import LogReport
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

TRUE_FAULT = Fault(14, 0x11, SWITCH, SWITCH, NEW_CR3)
SMALL = "".join(chain(firmware(1), storm(20, 1))).encode()


def report_of(path: Path, content: bytes, cr3: int | None = NEW_CR3) -> LogReport | None:
    """None if the content is refused."""
    path.write_bytes(content)
    try:
        return observe(path, cr3)
    except UnusableInput:
        return None


@pytest.mark.slow
def test_log_cut_anywhere_never_raises_and_never_invents_a_cause(tmp_path: Path) -> None:
    for cut in range(0, len(SMALL), 37 if takes_all() else 149):
        for cr3 in (NEW_CR3, None):
            report = report_of(tmp_path / "log", SMALL[:cut], cr3)
            if report is not None:
                assert report.first in (None, TRUE_FAULT), cut
                assert report.ending is not Ending.TRIPLE_FAULT


@pytest.mark.slow
def test_log_that_lacks_its_beginning_never_raises(tmp_path: Path) -> None:
    for cut in range(0, len(SMALL), 97):
        report_of(tmp_path / "log", SMALL[cut:])


@pytest.mark.slow
def test_flipped_bytes_never_raise(tmp_path: Path) -> None:
    dice = random.Random(3)
    for _ in range(300):
        content = bytearray(SMALL)
        for _ in range(dice.randrange(1, 40)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        report_of(tmp_path / "log", bytes(content), dice.choice((NEW_CR3, None)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_encoding_of_the_log_does_not_matter(tmp_path: Path, encoding: str) -> None:
    content = SMALL.decode().encode(encoding)
    if encoding == "utf-16-be":
        content = b"\xfe\xff" + content
    report = report_of(tmp_path / "log", content)
    assert report is not None
    assert (report.first, report.ending) == (TRUE_FAULT, Ending.STORM)


def test_line_ends_of_another_system_do_not_matter(tmp_path: Path) -> None:
    report = report_of(tmp_path / "log", SMALL.replace(b"\n", b"\r\n"))
    assert report is not None
    assert (report.first, report.ending, report.records) == (TRUE_FAULT, Ending.STORM, 22)


def test_line_of_megabytes_between_records_does_not_matter(tmp_path: Path) -> None:
    long_line = b"x" * (3 << 20) + b"\n"
    begin, end = "".join(firmware(1)).encode(), "".join(storm(20, 1)).encode()
    report = report_of(tmp_path / "log", begin + long_line + end + long_line)
    assert report is not None
    assert (report.first, report.ending) == (TRUE_FAULT, Ending.STORM)


@pytest.mark.slow
@pytest.mark.parametrize(
    "filler", [b"check_exception\n", b"CR3=\n", b"CR3=0 CR3=0 ", b": v=", b"1: v=0e e=0011 "]
)
def test_fillers_that_look_like_records_take_no_endless_time(tmp_path: Path, filler: bytes) -> None:
    hostile = filler * ((12 << 20) // len(filler))
    report = report_of(tmp_path / "log", SMALL[: len(SMALL) // 2] + hostile + SMALL)
    assert report is None or report.first in (None, TRUE_FAULT)


def test_register_values_of_impossible_size_are_no_values(tmp_path: Path) -> None:
    odd = record(1, 14, 0x11, cr2=SWITCH).replace("CR3=", "CR3=" + "f" * 5000)
    report_of(tmp_path / "log", odd.encode(), None)
