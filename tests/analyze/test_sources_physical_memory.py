"""Physical memory in a file: pages are found whatever runs it is stored in."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cr3scope.input.sources.physical_memory import PhysicalMemory, Run

PAGE = 4096


def pages(*numbers: int) -> bytes:
    """One page for each number, filled with it."""
    return b"".join(np.full(512, number, dtype="<u8").tobytes() for number in numbers)


def first_word(memory: PhysicalMemory, phys: int) -> int | None:
    entries = memory.table(phys)
    return None if entries is None else int(entries[0])


def test_a_page_is_found_at_its_physical_address() -> None:
    memory = PhysicalMemory(pages(1, 2, 3), [Run(0x7000, 2 * PAGE, PAGE), Run(0, PAGE, 0)])
    found = [first_word(memory, phys) for phys in (0, 0x1000, 0x6000, 0x7000, 0x8000, 0x9000)]
    assert found == [1, None, None, 2, 3, None]


def test_a_short_run_does_not_hide_the_long_one_that_it_lies_in() -> None:
    runs = [Run(0, 4 * PAGE, 0), Run(PAGE, PAGE, PAGE)]
    memory = PhysicalMemory(pages(1, 2, 3, 4), runs)
    assert [first_word(memory, number * PAGE) for number in range(5)] == [1, 2, 3, 4, None]


def test_a_page_may_lie_in_two_runs() -> None:
    data = pages(1, 2)
    runs = [Run(0, PAGE // 2, 0), Run(PAGE // 2, PAGE, PAGE)]
    entries = PhysicalMemory(data, runs).table(0)
    assert entries is not None
    assert entries.tolist() == [1] * 256 + [2] * 256


def test_a_page_with_a_hole_or_cut_at_the_end_is_absent() -> None:
    holed = PhysicalMemory(pages(1, 2), [Run(0, 0x800, 0), Run(0x801, 0x7FF, PAGE)])
    cut = PhysicalMemory(pages(1)[:-1], [Run(0, PAGE - 1, 0)])
    assert holed.table(0) is None and cut.table(0) is None


def test_memory_may_be_mapped_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(pages(1, 2))
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    memory = PhysicalMemory(data, [Run(0x10_0000, 2 * PAGE, 0)])
    entries = memory.table(0x10_1000)
    assert entries is not None and entries.dtype == np.uint64 and entries.tolist() == [2] * 512


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=6),
    st.integers(0, 40),
)
def test_a_page_is_there_exactly_if_all_its_bytes_are(
    spans: list[tuple[int, int]], quarter: int
) -> None:
    """Runs of quarter pages, each byte of which tells its own quarter's address."""
    step = PAGE // 4
    data, runs = b"", []
    there: set[int] = set()
    for start, count in spans:
        runs.append(Run(start * step, count * step, len(data)))
        there.update(range(start, start + count))
        for number in range(start, start + count):
            data += np.full(step // 8, number, dtype="<u8").tobytes()
    wanted = range(quarter, quarter + 4)
    entries = PhysicalMemory(data, runs).table(quarter * step)
    if there.issuperset(wanted):
        assert entries is not None
        assert entries[:: step // 8].tolist() == list(wanted)
    else:
        assert entries is None


@pytest.mark.parametrize("phys", [0, 1 << 51, (1 << 64) - PAGE])
def test_no_runs_hold_nothing(phys: int) -> None:
    assert PhysicalMemory(b"", [Run(0, 0, 0)]).table(phys) is None
