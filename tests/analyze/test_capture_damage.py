"""A damaged capture never gets a clean verdict, and never an exception other than UnusableInput."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from boot.reference import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_writer import Writer, golden, seal

from cr3scope.errors import UnusableInput
from cr3scope.input.capture.reader import read_capture

GOLDEN = golden().data
EVERY = 3  # byte of it, one of so many
LINES = golden().lines


def is_clean(data: bytes) -> bool:
    try:
        capture = read_capture(data)
    except UnusableInput:
        return False
    return not capture.damage and any(boot.complete for boot in capture.boots)


def test_the_golden_capture_is_clean() -> None:
    assert is_clean(GOLDEN)


def flip(pattern: int) -> Callable[[int], bytes]:
    return lambda at: GOLDEN[:at] + bytes([GOLDEN[at] ^ pattern]) + GOLDEN[at + 1 :]


DAMAGES: dict[str, Callable[[int], bytes]] = {
    "lowest-bit": flip(0x01),
    "case-bit": flip(0x20),
    "highest-bit": flip(0x80),
    "all-bits": flip(0xFF),
    "zeroed": lambda at: GOLDEN[:at] + b"\0" + GOLDEN[at + 1 :],
    "deleted": lambda at: GOLDEN[:at] + GOLDEN[at + 1 :],
    "duplicated": lambda at: GOLDEN[: at + 1] + GOLDEN[at:],
    "cut": lambda at: GOLDEN[:at],
    "head lost": lambda at: GOLDEN[at + 1 :],
    "newline put in": lambda at: GOLDEN[:at] + b"\n" + GOLDEN[at:],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_no_damage_at_any_byte_goes_unnoticed(name: str) -> None:
    # A newline before a sentinel is what chatter does; it harms nothing at the very beginning.
    places = range(1 if name == "newline put in" else 0, len(GOLDEN))
    missed = [at for at in sample(places, EVERY) if is_clean(DAMAGES[name](at))]
    assert missed == [], [GOLDEN[max(at - 20, 0) : at + 20] for at in missed[:5]]


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_lost_record_is_noticed(number: int) -> None:
    assert not is_clean(b"".join(LINES[:number] + LINES[number + 1 :]))


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_repeated_record_is_reported(number: int) -> None:
    data = b"".join(LINES[:number] + [LINES[number]] + LINES[number:])
    assert read_capture(data).damage


def test_a_repeated_record_counts_once() -> None:
    number = next(n for n, line in enumerate(LINES) if b" check " in line)
    data = b"".join(LINES[: number + 1] + LINES[number:])
    assert len(read_capture(data).boots[0].checks) == 1


@given(st.permutations(range(len(LINES))))
@settings(max_examples=150)
def test_any_other_order_of_the_records_is_noticed(order: list[int]) -> None:
    data = b"".join(LINES[number] for number in order)
    assert is_clean(data) == (order == sorted(order))


@pytest.mark.slow
@given(st.data())
@settings(max_examples=150)
def test_two_interleaved_captures_are_never_both_read_as_one(data: st.DataObject) -> None:
    other = Writer("other")
    other.put("config", a="b")
    for _ in range(data.draw(st.integers(0, 12))):
        other.put("check", name="x", outcome="pass")
    other.end()
    takes = data.draw(st.permutations([0] * len(LINES) + [1] * len(other.lines)))
    sides = [iter(LINES), iter(other.lines)]
    mixed = b"".join(next(sides[side]) for side in takes)
    in_turn = sorted(takes) == takes or sorted(takes, reverse=True) == takes
    assert is_clean(mixed) == in_turn


@pytest.mark.slow
@given(st.binary(max_size=300), st.integers(0, len(GOLDEN)))
@settings(max_examples=200)
def test_bytes_thrown_in_anywhere_raise_nothing_else(noise: bytes, at: int) -> None:
    is_clean(GOLDEN[:at] + noise + GOLDEN[at:])


def test_many_random_damages_at_once_raise_nothing_else() -> None:
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(GOLDEN)
        for _ in range(chance.randint(2, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assert not is_clean(bytes(data))


def test_damage_names_its_line_and_offset() -> None:
    at = GOLDEN.index(b"first%20fetch")
    damaged = GOLDEN[:at] + b"F" + GOLDEN[at + 1 :]
    first = read_capture(b"chatter\n" + damaged).damage[0]
    line = next(n for n, text in enumerate(LINES) if b"first%20fetch" in text)
    assert (first.line, first.offset) == (line + 2, 8 + len(b"".join(LINES[:line])))


def test_a_gap_says_how_many_records_are_missing() -> None:
    damage = read_capture(b"".join(LINES[:3] + LINES[5:])).damage
    assert "2 records" in damage[0].message and "missing" in damage[0].message


def test_a_damaged_record_is_not_used_and_reading_goes_on() -> None:
    at = GOLDEN.index(b"first%20fetch")
    capture = read_capture(GOLDEN[:at] + b"F" + GOLDEN[at + 1 :])
    assert capture.boots[0].plan == []
    assert capture.boots[0].summary == (1, 0)


def test_a_record_longer_than_the_limit_is_damage_though_its_checksum_is_right() -> None:
    writer = Writer()
    writer.put("config", long="x" * 600)
    writer.end()
    assert any("512" in entry.message for entry in read_capture(writer.data).damage)


@pytest.mark.parametrize(
    "body",
    [
        "@c3s1 1 config a=b a=c",
        "@c3s1 1 config A=b",
        "@c3s1 1 Config a=b",
        "@c3s1 01 config a=b",
        "@c3s1 1  config a=b",
        "@c3s1 1 config a",
        "@c3s1 1 config a=b=c",
        "@c3s1 1 config a=%G0",
        "@c3s1 1 exit status=0x1 attempts=1",
        "@c3s1 1 exit status=01 attempts=1",
        "@c3s1 1 exit status=10000000000000000 attempts=1",
        "@c3s1 1 exit status=1",
        "@c3s1 1 d o=0 b=AAAA",
        "@c3s1 1 plan step=0 name=x kind=jump virt=0 width=1 rip=0",
        "@c3s1 1 table phys=0 level=6 parent=0 caller=0",
        "@c3s1 1 region name=x role=y virt=2 last=1",
        "@c3s1 1 mmap index=0 total=1 size=30 d=:1:7:f",
        "@c3s1 1 section producer=stranger",
    ],
)
def test_what_breaks_the_format_is_damage_though_its_checksum_is_right(body: str) -> None:
    writer = Writer()
    writer.lines.append(seal(body))
    writer.end()
    assert not is_clean(writer.data)
    assert read_capture(writer.data).damage


def test_a_memory_map_of_garbage_is_the_guests_and_no_damage() -> None:
    writer = Writer()
    writer.put("mmap", index=0, total=2, size=0x30, d=["0:ffffffffffffffff:7:f", "ffffffffffffffff:2:7:f"])
    writer.end()
    capture = read_capture(writer.data)
    assert not capture.damage
    assert [d.last for d in capture.boots[0].memory_map] == [(1 << 64) - 1] * 2


def test_totals_that_do_not_fit_are_reported() -> None:
    writer = Writer()
    writer.put("end", {"producer": "loader", "records": 1, "bytes": 5, "crc": 0, "next": "none"})
    assert "bytes" in read_capture(writer.data).damage[0].message


def test_a_boot_whose_writer_gave_up_is_not_complete() -> None:
    writer = Writer()
    writer.put("error", where="initrd.img", what="no kernel.elf", status=0xE)
    writer.end()
    capture = read_capture(writer.data)
    assert not capture.damage
    assert not capture.boots[0].complete
    assert capture.boots[0].errors == [("initrd.img", "no kernel.elf", 0xE)]
