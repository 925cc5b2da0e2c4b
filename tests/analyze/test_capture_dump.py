"""Dumps and memory come out as they went in, and hostile ones are damage, not a burden."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_writer import Writer, dump_stream, entries, plane, repeat, varint, zigzag

from cr3scope import limits
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Boot, Dump
from cr3scope.input.capture.word_stream import Stream, StreamError

P, NX = 1, 1 << 63
WORD = 1 << 64
words = st.one_of(
    st.sampled_from([0, P, 3, 0x63, NX | 0x1003, WORD - 1]), st.integers(0, WORD - 1)
)


def runs() -> st.SearchStrategy[list[int]]:
    """Tables as loaders make them: runs of rising frames among irregular entries."""
    run = st.tuples(words, st.integers(1, 80), st.sampled_from([0, 0x1000, 0x20_0000, 1]))
    return st.lists(run, max_size=12).map(
        lambda found: [
            (first + i * step) % WORD for first, count, step in found for i in range(count)
        ]
    ).map(lambda table: (table + [0] * 512)[:512])  # fmt: skip


def boot_with(stream: bytes, pages: int, levels: int = 4) -> tuple[Boot, list[str]]:
    writer = Writer()
    writer.dump("new", 0x1000, levels, stream, pages)
    writer.end()
    capture = read_capture(writer.data)
    return capture.boots[0], [found.message for found in capture.damage]


def dump_of(stream: bytes, pages: int) -> Dump:
    boot, damage = boot_with(stream, pages)
    assert damage == []
    return boot.dumps["new"]


@pytest.mark.slow
@given(st.lists(runs(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=120)
def test_tables_survive_to_the_bit(tables: list[list[int]], verbatim: bool) -> None:
    pages = [(0x1000 * (7 * n + 1), 4 - n % 4, table) for n, table in enumerate(tables)]
    dump = dump_of(dump_stream(pages, verbatim), len(pages))
    assert {phys: found.tolist() for phys, found in dump.tables.items()} == {
        phys: table for phys, _, table in pages
    }
    assert all(found.dtype == np.uint64 for found in dump.tables.values())


@pytest.mark.slow
@given(runs(), st.integers(1, 20), st.integers(-3, 3).filter(bool), words)
@settings(max_examples=120)
def test_repeated_tables_add_the_step_to_present_entries_alone(
    table: list[int], count: int, page_step: int, step: int
) -> None:
    start = 0x100
    stream = dump_stream([(start << 12, 2, table)])[:-1] + repeat(count, page_step, step) + b"\0"
    dump = dump_of(stream, count + 1)
    for number in range(count + 1):
        assert dump.tables[start + number * page_step << 12].tolist() == table
        table = [(entry + step) % WORD if entry & P else entry for entry in table]


def test_a_repetition_may_follow_a_repetition_and_a_verbatim_table() -> None:
    table = [3] * 512
    stream = dump_stream([(0x1000, 4, table)], verbatim=True)[:-1]
    stream += repeat(2, 1, 0x1000) + repeat(1, 5, 0x10000) + b"\0"
    dump = dump_of(stream, 4)
    firsts = {phys: int(found[0]) for phys, found in dump.tables.items()}
    assert firsts == {0x1000: 3, 0x2000: 0x1003, 0x3000: 0x2003, 0x8000: 0x12003}


def test_an_unreadable_table_is_known_as_such() -> None:
    dump = dump_of(dump_stream([(0x1000, 4, [0] * 512), (0x9000, 3, None)]), 2)
    assert dump.unreadable == {0x9000} and list(dump.tables) == [0x1000]


TABLE = dump_stream([(0x1000, 4, [0] * 512)])[:-1]
ONE_RUN = varint(512 << 1) + zigzag(0)


@pytest.mark.parametrize(
    ("stream", "pages"),
    [
        (b"", 0),
        (TABLE, 1),
        (TABLE + b"\0\0", 1),
        (TABLE + b"\0", 2),
        (TABLE + b"\7", 1),
        (TABLE + TABLE[:1] + zigzag(-1) + TABLE[2:] + b"\0", 2),
        (TABLE + repeat(3, 0, 0) + b"\0", 4),
        (TABLE + repeat(0, 1, 0) + b"\0", 1),
        (repeat(3, 1, 0) + b"\0", 3),
        (TABLE + b"\4" + zigzag(5) + b"\3" + repeat(1, 1, 0) + b"\0", 3),
        (b"\1" + zigzag(-9) + b"\4" + entries([0] * 512) + b"\0", 1),
        (b"\1" + zigzag(1 << 41) + b"\4" + entries([0] * 512) + b"\0", 1),
        (b"\1" + zigzag(0) + b"\6" + entries([0] * 512) + b"\0", 1),
        (b"\1" + zigzag(0) + b"\0" + entries([0] * 512) + b"\0", 1),
        (b"\1" + zigzag(0) + b"\4" + varint(513 << 1) + zigzag(0) + b"\0", 1),
        (b"\1" + zigzag(0) + b"\4" + varint(0) + zigzag(0) + ONE_RUN + b"\0", 1),
        (b"\1" + zigzag(0) + b"\4" + ONE_RUN + varint(513 << 2) + b"\0", 1),
        (b"\1" + zigzag(0) + b"\4" + varint(512 << 1) + zigzag(0x40) + varint(2048) + b"\0", 1),
        (b"\1" + b"\x80" * 10 + b"\0", 1),
        (b"\1" + b"\xff" * 9 + b"\x7f", 1),
        (b"\3" + zigzag(0) + b"\4" + bytes(4095), 1),
    ],
)
def test_a_stream_that_breaks_the_format_is_damage(stream: bytes, pages: int) -> None:
    boot, damage = boot_with(stream, pages)
    assert damage and "new" not in boot.dumps and not boot.complete


@pytest.mark.parametrize("count", [1 << 20, 1 << 40, WORD - 1])
@pytest.mark.parametrize("step", [0, 0x1000, 1])
def test_an_absurd_repetition_is_damage_and_takes_no_memory(count: int, step: int) -> None:
    tracemalloc.start()
    boot, damage = boot_with(TABLE + repeat(count, 1, step) + b"\0", 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert damage and not boot.dumps and peak < 4_000_000


def test_many_dumps_together_cannot_exceed_the_bound_either() -> None:
    writer = Writer()
    count = limits.CAPTURE_TABLES * 5 // 8
    for value, name in enumerate(("old", "new", "after")):
        stream = dump_stream([(0x1000, 4, [value] * 512)])[:-1] + repeat(count, 1, 0) + b"\0"
        writer.dump(name, 0x1000, 4, stream, count + 1)
    capture = read_capture(writer.data)
    assert len(capture.boots[0].dumps) == 1
    assert any("limit" in found.message for found in capture.damage)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_as_a_stream_give_tables_or_damage(stream: bytes) -> None:
    boot_with(stream, 1)


def test_two_thousand_tables_take_little_time() -> None:
    """The firmware's identity map: 515 tables are the rule. `make bench` measures; here what is not linear is seen."""
    table = [n << 21 | 0x83 for n in range(512)]
    stream = dump_stream([(0x1000, 2, table)])[:-1] + repeat(2000, 1, 1 << 30) + b"\0"
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        assert len(dump_of(stream, 2001).tables) == 2001
        best = min(best, time.process_time() - start)
    assert best < 2


def contents(data: bytes, planes: int) -> tuple[Boot, list[str]]:
    writer = Writer()
    writer.memory("idt", 0x8000, data, planes)
    writer.end()
    capture = read_capture(writer.data)
    return capture.boots[0], [found.message for found in capture.damage]


@given(st.binary(max_size=400), st.integers(0, 3))
@settings(max_examples=120)
def test_memory_survives_in_every_coding(data: bytes, planes: int) -> None:
    if planes > max(1, (len(data) + 7) // 8):
        planes = 0
    boot, damage = contents(data, planes)
    assert damage == []
    assert boot.memories["idt", "handoff"].data == data


@pytest.mark.parametrize(("length", "planes"), [(WORD - 1, 1), (1 << 40, 2), (16, WORD - 1)])
def test_memory_of_absurd_size_is_damage(length: int, planes: int) -> None:
    writer = Writer()
    stream = plane([0, 0])
    writer.put("memory", name="idt", when="handoff", virt=0, length=length, words=planes)
    writer.payload(stream)
    writer.put("memory-end", {"name": "idt", "bytes": len(stream), "crc": zlib.crc32(stream)})
    writer.end()
    capture = read_capture(writer.data)
    assert capture.damage and not capture.boots[0].memories


def test_the_padding_of_a_word_stream_is_zero() -> None:
    writer = Writer()
    stream = plane([0x0100])
    writer.put("memory", name="code", when="entry", virt=0, length=1, words=1)
    writer.payload(stream)
    writer.put("memory-end", {"name": "code", "bytes": len(stream), "crc": zlib.crc32(stream)})
    writer.end()
    assert "padding" in read_capture(writer.data).damage[0].message


def test_a_number_of_a_stream_has_64_bits() -> None:
    assert Stream(b"\xff" * 9 + b"\x01").varint() == WORD - 1
    for above in (b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x00"):
        with pytest.raises(StreamError, match="above 64 bits"):
            Stream(above).varint()


def test_a_stream_that_breaks_after_many_tables_uses_up_the_bound_as_a_good_one_does() -> None:
    """Else a small file of many broken dumps would keep the reader busy for hours."""
    stream = TABLE + repeat(40_000, 1, 0) + b"\7"
    writer = Writer()
    for _ in range(300):
        writer.dump("new", 0x1000, 4, stream, 40_001)
    writer.end()
    damage = read_capture(writer.data).damage
    assert len(damage) == 300
    assert all("limit" in found.message for found in damage[1:])


def test_a_repetition_that_stays_on_its_page_is_damage_before_any_table_is_made() -> None:
    tracemalloc.start()
    boot, damage = boot_with(TABLE + repeat(60_000, 0, 0) + b"\0", 60_001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert damage and not boot.dumps and peak < 4_000_000
