"""Triage of damaged logs: a fault of the switch that is in the log is never called healthy."""

from __future__ import annotations

import random
import tracemalloc
from itertools import chain
from pathlib import Path

import pytest
from analyze.storm_log import IDT, SWITCH, TRIPLE, firmware, record, storm

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status, Verdict

BEGIN = "".join(firmware(3)).encode()
DIED = "".join(
    [record(3, 14, 0x11, cr2=SWITCH), record(4, 8, cr2=IDT + 14 * 16, old=14), TRIPLE]
).encode()


def judge(path: Path, content: bytes) -> Verdict | None:
    """None if the content is refused."""
    path.write_bytes(content)
    try:
        with LogFile(path) as log:
            return judge_log(read_story(log))
    except UnusableInput:
        return None


@pytest.mark.slow
def test_log_cut_at_any_byte_after_the_fault_is_never_healthy(tmp_path: Path) -> None:
    announced = DIED.index(b"\n")
    for cut in range(announced + 1, len(DIED), 3):
        verdict = judge(tmp_path / "log", BEGIN + DIED[:cut])
        assert verdict is not None and verdict.status is not Status.HEALTHY, cut
        if cut > DIED.index(b"RAX"):
            assert verdict.observation is not None and verdict.observation.first is not None
            assert verdict.observation.first.cr2 == SWITCH, cut


def test_log_cut_before_the_fault_is_no_fault(tmp_path: Path) -> None:
    for cut in range(BEGIN.index(b"v=20"), len(BEGIN), 41):
        verdict = judge(tmp_path / "log", BEGIN[:cut])
        assert verdict is None or verdict.status is not Status.FAULTED, cut


@pytest.mark.slow
def test_log_that_lacks_any_piece_of_its_middle_never_raises(tmp_path: Path) -> None:
    whole, dice = BEGIN + DIED, random.Random(11)
    for _ in range(200):
        start, end = sorted(dice.randrange(len(whole)) for _ in range(2))
        judge(tmp_path / "log", whole[:start] + whole[end:])


@pytest.mark.parametrize(
    "content",
    [
        (BEGIN + DIED).decode().encode("utf-16-le"),
        (BEGIN + DIED).decode().encode("utf-16-be"),
        (BEGIN + DIED).decode().encode("utf-16"),
        b"\xff\xe9\0\0".join([BEGIN, DIED]),
        b"\0" * 4096 + BEGIN + DIED,
        BEGIN + b"\xc3\x28 \xf0\x90\n" + DIED,
    ],
)
def test_encoding_and_bytes_that_are_no_text_do_not_matter(tmp_path: Path, content: bytes) -> None:
    verdict = judge(tmp_path / "log", content)
    assert verdict is not None and verdict.observation is not None
    assert verdict.observation.first is not None
    assert verdict.observation.first.cr2 == SWITCH


def utf_16(text: bytes) -> bytes:
    return text.decode().encode("utf-16")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (utf_16(BEGIN) + b"X" + utf_16(DIED)[2:], len(BEGIN) + 1),
        (utf_16(BEGIN) + utf_16(DIED)[3:], len(BEGIN)),
        (BEGIN + bytes(512), len(BEGIN)),
        (BEGIN + bytes(len(DIED)) + BEGIN, len(BEGIN)),
        (bytes(600) + BEGIN + bytes(512), 600 + len(BEGIN)),
    ],
    ids=["a-byte-more", "a-byte-less", "end", "middle", "emptied-and-cut"],
)
def test_a_log_of_which_a_part_is_zeros_is_not_healthy(content: bytes, place: int, tmp_path: Path) -> None:
    """The fault that stood there was not seen: it was a boot without one."""
    verdict = judge(tmp_path / "log", content)
    assert verdict is not None and verdict.status is Status.INCOMPLETE
    assert f"from byte {place} on the log holds zeros" in render(verdict)


def coloured(text: bytes, found: bytes) -> bytes:
    """As `grep --color=always` leaves it."""
    return text.replace(found, b"\x1b[01;31m\x1b[K" + found + b"\x1b[m\x1b[K")


@pytest.mark.parametrize("found", [b"v=0", b"v=", b": v=0e", b"check_exception", b"old: 0x", b"cpl"])
def test_a_log_whose_colours_hide_an_exception_is_not_healthy(found: bytes, tmp_path: Path) -> None:
    content = coloured(BEGIN + "".join([record(3, 14, 0x11, cr2=SWITCH), record(4, 0x20, 0)]).encode(), found)
    verdict = judge(tmp_path / "log", content + "".join(firmware(3)).encode())
    assert verdict is None or verdict.status is not Status.HEALTHY


def test_colours_around_what_tells_of_no_exception_hide_nothing(tmp_path: Path) -> None:
    verdict = judge(tmp_path / "log", b"\x1b[2J\x1b[01;01HBdsDxe: starting\n" + coloured(BEGIN, b"RAX="))
    assert verdict is not None and verdict.status is Status.HEALTHY


@pytest.mark.parametrize("end", [b" |", b"$", b"^M$", b"\x1b[0K", b'\\n"', b"\r"])
def test_what_stands_behind_each_line_hides_no_announcement(end: bytes, tmp_path: Path) -> None:
    """Of a table, of `cat -A`, of a CI's log, of gdb's: what was announced was not known to be."""
    verdict = judge(tmp_path / "log", (BEGIN + DIED).replace(b"\n", end + b"\n"))
    assert verdict is not None and verdict.observation is not None and verdict.observation.first is not None
    assert (verdict.observation.first.vector, verdict.observation.first.cr2) == (14, SWITCH)


def test_lines_that_end_in_cr_alone_are_lines(tmp_path: Path) -> None:
    verdict = judge(tmp_path / "log", (BEGIN + DIED).replace(b"\n", b"\r"))
    assert verdict is not None and verdict.observation is not None and verdict.observation.first is not None
    assert (verdict.observation.first.vector, verdict.observation.first.cr2) == (14, SWITCH)


def test_zeros_before_a_log_and_few_within_are_no_loss(tmp_path: Path) -> None:
    verdict = judge(tmp_path / "log", bytes(4096) + BEGIN.replace(b"\n", b"\0\n") + bytes(15))
    assert verdict is not None and verdict.status is Status.HEALTHY


@pytest.mark.slow
@pytest.mark.parametrize("filler", [b"x", b" HLT=", b"CPU Reset (CPU 0)", b"CR3 update: CR3="])
def test_line_of_many_megabytes_takes_little_memory(tmp_path: Path, filler: bytes) -> None:
    line = filler * ((24 << 20) // len(filler)) + b"\n"
    tracemalloc.start()
    judge(tmp_path / "log", b"")
    (tmp_path / "log").write_bytes(BEGIN + line)
    del line
    tracemalloc.reset_peak()
    with LogFile(tmp_path / "log") as log:
        story = read_story(log)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert story.report.first is None
    assert peak < 12 << 20


@pytest.mark.slow
def test_storm_cut_anywhere_is_faulted(tmp_path: Path) -> None:
    content = "".join(chain(firmware(2), storm(40, 2))).encode()
    first = content.index(b"v=0e")
    dice = random.Random(5)
    for cut in (dice.randrange(first + 400, len(content)) for _ in range(120)):
        verdict = judge(tmp_path / "log", content[:cut])
        assert verdict is not None and verdict.status is Status.FAULTED, cut
