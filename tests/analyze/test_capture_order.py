"""Intact records in places where they make no sense: each is damage that says what is wrong."""

from __future__ import annotations

import zlib

import pytest
from trace_writer import Writer, dump_stream, golden, seal

from cr3scope.input.capture.reader import read_capture

EMPTY_TABLE = dump_stream([(0x1000, 4, [0] * 512)])


def complaints(writer: Writer) -> str:
    return "\n".join(found.message for found in read_capture(writer.data).damage)


def test_a_record_one_byte_over_the_limit_is_damage() -> None:
    writer = Writer()
    writer.put("config", a="x" * (513 - len(seal("@c3s1 1 config a="))))
    assert len(writer.lines[-1]) == 513
    writer.end()
    assert "longer than 512 bytes" in complaints(writer)


def test_a_boot_must_begin_with_sequence_number_0() -> None:
    data = golden().data.replace(golden().lines[0], seal("@c3s1 7 begin producer=loader version=0"))
    damage = read_capture(data).damage
    assert "its sequence number is 0x7, not 0" in damage[0].message


def test_a_capture_must_start_with_a_begin() -> None:
    damage = read_capture(b"".join(golden().lines[1:])).damage
    assert [found.message for found in damage] == ["the capture does not start with a begin record"]


def test_a_section_must_be_the_promised_one() -> None:
    writer = Writer()
    writer.end("kernel")
    writer.section("stranger")
    writer.end()
    assert "section stranger where kernel was promised" in complaints(writer)


def test_a_section_cannot_start_within_another() -> None:
    writer = Writer()
    writer.section("kernel")
    writer.end()
    assert "section loader is not closed" in complaints(writer)


def test_a_section_is_ended_by_its_own_writer() -> None:
    writer = Writer()
    writer.producer = "stranger"
    writer.end()
    assert "section stranger ends, but loader is open" in complaints(writer)


def test_a_section_ends_once() -> None:
    writer = Writer()
    writer.end("kernel")
    writer.end()
    assert "section loader ends, but none is open" in complaints(writer)


@pytest.mark.parametrize("ending", ["end", "dump", "memory", "begin"])
def test_a_dump_that_stays_open_is_told_unless_the_boot_was_cut(ending: str) -> None:
    writer = Writer()
    writer.put("dump", id="new", cr3=0x1000, levels=4)
    writer.put("d", o=0, b=EMPTY_TABLE)
    if ending == "begin":
        capture = read_capture(writer.data + golden().data)
        assert capture.damage == []
        assert [boot.complete for boot in capture.boots] == [False, True]
        return
    if ending == "dump":
        writer.dump("old", 0x1000, 4, EMPTY_TABLE, 1)
    if ending == "memory":
        writer.memory("gdt", 0, b"\0", 0)
    writer.end()
    assert "dump new is not closed" in complaints(writer)
    boot = read_capture(writer.data).boots[0]
    assert list(boot.dumps) == (["old"] if ending == "dump" else [])


def test_what_a_boot_left_open_does_not_reach_into_the_next() -> None:
    cut = Writer()
    cut.put("mmap", index=0, total=2, size=0x30, d=["0:1:7:f"])
    cut.put("dump", id="new", cr3=0x1000, levels=4)
    other = Writer()
    other.put("d", o=0, b=EMPTY_TABLE)
    other.put("mmap", index=1, total=2, size=0x30, d=["1:1:7:f"])
    other.end()
    messages = [found.message for found in read_capture(cut.data + other.data).damage]
    assert messages[0] == "d record: data outside of a dump or memory"
    assert messages[1].startswith("mmap record: ")


def test_a_dump_is_closed_under_its_own_name() -> None:
    writer = Writer()
    writer.put("dump", id="new", cr3=0x1000, levels=4)
    writer.put("d", o=0, b=EMPTY_TABLE)
    size, crc = len(EMPTY_TABLE), zlib.crc32(EMPTY_TABLE)
    writer.put("dump-end", {"id": "old", "pages": 1, "bytes": size, "crc": crc})
    writer.end()
    assert "dump old ends, but it is not open" in complaints(writer)


@pytest.mark.parametrize("kind", ["dump", "memory"])
def test_nothing_is_dumped_twice(kind: str) -> None:
    writer = Writer()
    for _ in range(2):
        if kind == "dump":
            writer.dump("new", 0x1000, 4, EMPTY_TABLE, 1)
        else:
            writer.memory("gdt", 0, b"\0", 0)
    writer.end()
    assert "stands twice" in complaints(writer)


def test_a_memory_map_has_as_many_descriptors_as_promised() -> None:
    for total, words in ((3, "has 2 of 3 descriptors"), (1, "more than the 0x1 descriptors")):
        writer = Writer()
        writer.put("mmap", index=0, total=total, size=0x30, d=["0:1:7:f", ":1:7:"])
        writer.end()
        assert words in complaints(writer)


def test_the_pieces_of_a_memory_map_must_tell_the_same_total() -> None:
    writer = Writer()
    writer.put("mmap", index=0, total=2, size=0x30, d=["0:1:7:f"])
    writer.put("mmap", index=1, total=3, size=0x30, d=["1:1:7:f"])
    writer.end()
    assert "descriptor 0x1 of 0x3" in complaints(writer)


def test_memory_that_a_capture_may_carry_is_bounded() -> None:
    """64 MiB in all, said in a few bytes each."""
    writer = Writer()
    zeros = b"\x80\x80\x10\x00"  # one run of 2^17 words, all 0
    for number in range(65):
        name = f"m{number}"
        writer.put("memory", name=name, when="entry", virt=0, length=1 << 20, words=1)
        writer.put("d", o=0, b=zeros)
        writer.put("memory-end", {"name": name, "bytes": len(zeros), "crc": zlib.crc32(zeros)})
    writer.end()
    capture = read_capture(writer.data)
    assert len(capture.boots[0].memories) == 64
    assert len(capture.damage) == 1 and "bytes of memory" in capture.damage[0].message
