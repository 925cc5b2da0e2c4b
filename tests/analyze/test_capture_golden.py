"""Captures that are kept as files: none that was damaged is ever judged healthy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from boot.reference import sample, takes_all
from trace_writer import golden

from cr3scope.errors import UnusableInput
from cr3scope.input.capture.reader import read_capture
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
EVERY = 9  # byte of the golden capture, one of so many
GOLDEN = (CAPTURES / "golden.trace").read_bytes()
REAL = (CAPTURES / "healthy.serial.log").read_bytes()


def status(data: bytes) -> Status | None:
    """What the user is told; None if the input is refused."""
    try:
        return analyze(read_capture(data)).status
    except UnusableInput:
        return None


def is_whole(data: bytes) -> bool:
    try:
        capture = read_capture(data)
    except UnusableInput:
        return False
    return not capture.damage and any(boot.complete for boot in capture.boots)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x04]) + data[at + 1 :]


def delete(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + 1 :]


def duplicate(data: bytes, at: int) -> bytes:
    return data[: at + 1] + data[at:]


def cut(data: bytes, at: int) -> bytes:
    return data[:at]


def test_the_golden_capture_is_what_a_writer_made_from_the_format_writes() -> None:
    assert golden().data == GOLDEN
    assert len(GOLDEN) < 3000


def test_both_are_healthy_as_they_are() -> None:
    assert status(GOLDEN) is status(REAL) is Status.HEALTHY


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, delete, duplicate, cut])
def test_the_golden_capture_damaged_at_any_byte_is_never_healthy(
    damage: Callable[[bytes, int], bytes],
) -> None:
    healthy = [at for at in sample(range(len(GOLDEN)), EVERY) if status(damage(GOLDEN, at)) is Status.HEALTHY]
    assert healthy == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, delete, duplicate, cut])
def test_a_real_boot_damaged_in_any_record_is_never_read_as_whole(
    damage: Callable[[bytes, int], bytes],
) -> None:
    """First and last byte of each record, and one within; in a sample one of the three."""
    records = list(re.finditer(rb"@c3s1 [^\n]*\n", REAL))
    assert len(records) > 50
    for number, record in enumerate(records):
        within = record.start() + (7 * number + 5) % (record.end() - record.start())
        places = [record.start(), within, record.end() - 1]
        for at in places if takes_all() else [places[number % 3]]:
            assert not is_whole(damage(REAL, at)), (number, at)


def test_a_real_boot_is_read_whole() -> None:
    capture = read_capture(REAL)
    assert capture.damage == capture.notes == []
    (boot,) = capture.boots
    assert is_whole(REAL) and boot.closed == ["loader", "kernel"]
    assert boot.cpus.keys() == {"entry", "handoff"}
    assert boot.dumps.keys() == {"old", "new", "after"}
    assert [name for name, _ in boot.memories] == ["gdt", "idt", "tss", "code", "entry"]
    assert all((boot.images, boot.elfs, boot.segments, boot.maps, boot.regions, boot.tables))
    assert boot.summary is not None and boot.summary == (len(boot.checks), 0)
    assert [step.step for step in boot.plan] == list(range(len(boot.plan)))
    assert len(boot.preflight) == len(boot.plan)
    assert len(boot.dumps["new"].tables) == len(boot.dumps["after"].tables) == len(boot.tables)
    assert len(boot.dumps["old"].tables) > 500  # 512 GiB of 2 MiB pages
    assert sum(d.last - d.first + 1 for d in boot.memory_map if d.type == 7) > 100 << 20


def test_the_tables_of_a_real_boot_are_those_that_the_loader_says_it_made() -> None:
    (boot,) = read_capture(REAL).boots
    assert {record.phys for record in boot.tables} == set(boot.dumps["new"].tables)
    for record in boot.tables:
        if record.parent:
            table = boot.dumps["new"].tables[record.parent & ~0xFFF]
            pointer = int(table[record.parent % 4096 // 8])
            assert pointer & 0x000F_FFFF_FFFF_F000 == record.phys


def test_a_capture_with_carriage_returns_or_chatter_is_as_healthy() -> None:
    assert status(GOLDEN.replace(b"\n", b"\r\n")) is Status.HEALTHY
    assert status(re.sub(rb"(?m)^(?=@c3s)", b"\x1b[2J\x1b[01;01H", GOLDEN)) is Status.HEALTHY
