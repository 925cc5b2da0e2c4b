"""A `-d int` log of a guest that died is never healthy, whichever of its lines is missing or has a flipped bit."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.formats import qemu_int
from cr3scope.input.logs.logfile import LogFile
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
LOGS = ["qemu-7.2.stack-unmapped", "qemu-10.0.idt-wrong-selector"]
WITHOUT = {
    "nothing": None, "announcements": rb"check_exception", "the-end": rb"Triple fault",
    "both": rb"check_exception|Triple fault", "all-but-records": rb"check_exception|Triple fault|CPU Reset",
}  # fmt: skip
TELLING = re.compile(rb"v=[0-9a-f]{2} |check_exception|Triple fault|CPU Reset|CR0=")
FLIPS = 120


def lines_of(log: str, without: str) -> list[bytes]:
    lines = (CAPTURES / f"{log}.interrupts.log").read_bytes().split(b"\n")
    pattern = WITHOUT[without]
    return [line for line in lines if pattern is None or not re.search(pattern, line)]


def damaged(lines: list[bytes], seed: str) -> Iterator[tuple[str, bytes]]:
    yield "whole", b"\n".join(lines)
    telling = [number for number, line in enumerate(lines) if TELLING.search(line)]
    for number in telling:
        yield f"without line {number}", b"\n".join(lines[:number] + lines[number + 1 :])
    rng = random.Random(seed)
    for _ in range(FLIPS):
        number = rng.choice(telling)
        bit = rng.randrange(8 * len(lines[number]))
        line = bytearray(lines[number])
        line[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} of line {number}", b"\n".join([*lines[:number], bytes(line), *lines[number + 1 :]])


def status(path: Path) -> Status | None:
    try:
        with LogFile(path) as log:
            if not qemu_int.FORMAT.is_in(log) or qemu_int.FORMAT.story is None:
                return None
            return judge_log(qemu_int.FORMAT.story(log, None)).status
    except UnusableInput:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("log", LOGS)
def test_a_log_of_a_death_is_never_healthy_for_what_it_lacks(log: str, without: str, tmp_path: Path) -> None:
    path = tmp_path / "interrupts.log"
    for what, data in damaged(lines_of(log, without), f"{log} {without}"):
        path.write_bytes(data)
        assert status(path) is not Status.HEALTHY, what


@pytest.mark.parametrize("log", LOGS)
def test_the_word_triple_fault_decides_where_a_double_fault_alone_is_left(log: str, tmp_path: Path) -> None:
    """Without announcements a #DF looks like IRQ 0 of a PIC that nobody has programmed."""
    lines = lines_of(log, "announcements")
    last = max(number for number, line in enumerate(lines) if re.search(rb"v=(0e|0d) ", line))
    path = tmp_path / "interrupts.log"
    path.write_bytes(b"\n".join(lines[:last] + lines[last + 1 :]))
    assert status(path) is Status.FAULTED
