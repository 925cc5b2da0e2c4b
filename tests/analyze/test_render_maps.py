"""The list of mappings: formatted in bulk, yet line for line what plain formatting gives."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paging_cases import NX, PS, ROOT, A, D, P, Pages, U, W

from cr3scope.paging.effective import Mappings, mappings
from cr3scope.render import columns, maps
from cr3scope.render.range_row import incompleteness
from cr3scope.render.sizes import size_text
from cr3scope.x86.cpu_state import CpuState

words = st.one_of(
    st.integers(0, (1 << 64) - 1), st.integers(0, 63).map(lambda n: 1 << n), st.just(0)
)
PDPT, PD, PT = 0x11000, 0x12000, 0x13000


def document(found: Mappings, warnings: Sequence[str] = ()) -> dict[str, object]:
    made: dict[str, object] = json.loads("".join(maps.json_text(found, warnings)))
    return made


def text(pages: Pages, cpu: CpuState) -> list[str]:
    found = mappings(pages, cpu)
    return "\n".join(maps.as_text(found, pages, cpu, "tables made by hand")).split("\n")


def path_to(leaf: int, *, top: int = W | U, directory: int = W | U) -> Pages:
    """One 4 KiB page at 0, with the given flags above it."""
    pages = Pages()
    pages.put(ROOT, 0, PDPT | P | top)
    pages.put(PDPT, 0, PD | P | W | U)
    pages.put(PD, 0, PT | P | directory)
    pages.put(PT, 0, leaf | P)
    return pages


def scattered(count: int) -> Mappings:
    """So many pages, none of which joins its neighbour."""
    first = np.arange(count, dtype=np.uint64) << np.uint64(13)
    phys = np.arange(count, dtype=np.uint64)[::-1] << np.uint64(12)
    attributes = np.full(count, 1 << 3 | 2, dtype=np.uint64)
    return Mappings(first, first + np.uint64(0xFFF), phys, attributes, 6)


@pytest.mark.slow
@given(st.lists(words, min_size=1, max_size=40))
def test_hex_columns_read_as_python_writes_them(numbers: list[int]) -> None:
    column = np.array(numbers, dtype=np.uint64)
    padded = columns.lines([columns.hex_digits(column), "\n"], len(column)).split()
    assert padded == [f"{number:016x}" for number in numbers]
    quoted = columns.lines([columns.quoted_hex(column), "\n"], len(column)).split()
    assert quoted == [f'"{number:#x}"' for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize("rest", [-1, 0, 1])
@pytest.mark.parametrize("portions", [1, 2])
def test_no_row_is_lost_where_portions_meet(portions: int, rest: int) -> None:
    count = portions * columns.BLOCK_ROWS + rest
    found = scattered(count)
    told = document(found)["mappings"]
    assert isinstance(told, list) and len(told) == count
    assert [row["first"] for row in told] == [hex(first) for first in found.first.tolist()]
    assert told[-1] == {
        "first": hex((count - 1) << 13), "last": hex((count - 1) << 13 | 0xFFF), "phys": "0x0",
        "size": 4096, "rights": "rw--", "level": 1, "memory_type": "wb", "name": None,
    }  # fmt: skip
    pages = Pages({ROOT: [0] * 512})
    shown = "\n".join(maps.as_text(found, pages, CpuState(ROOT), "")).split("\n")
    assert len(shown) == count + 4


def test_an_empty_address_space_is_said_to_be_empty() -> None:
    pages = Pages({ROOT: [0] * 512})
    found = mappings(pages, CpuState(ROOT))
    assert document(found, ["a \x1b warning"]) == {
        "schema": "cr3scope.maps/1", "paging": "4-level", "mappings": [], "warnings": ["a \x1b warning"]
    }  # fmt: skip
    assert text(pages, CpuState(ROOT))[0].startswith("0 ranges, 0 B mapped")


def test_a_line_names_page_type_and_what_an_upper_entry_denies() -> None:
    shown = text(path_to(0x5000 | W | U, top=W | NX, directory=0), CpuState(ROOT))
    assert shown[0] == (
        "1 range, 4 KiB mapped; 0 B writable and executable, 0 B open to user mode"
    )
    fields = shown[4].split()
    assert fields[:6] == ["0" * 16, "0" * 13 + "fff", f"{0x5000:013x}", "r---", "wb", "4K"]
    assert fields[6:] == ["PML4[0]:xu", "PD[0]:wu"]


def test_what_the_leaf_itself_denies_is_not_blamed_on_upper_entries() -> None:
    shown = text(path_to(0x5000 | NX, top=NX, directory=0), CpuState(ROOT))
    assert shown[4].endswith("r---    wb    4K")


@pytest.mark.parametrize(
    ("value", "name"), [(0, "uc"), (1, "wc"), (5, "wp"), (0xF3, "reserved-f3")]
)
def test_memory_types_come_from_the_pat(value: int, name: str) -> None:
    cpu = CpuState(ROOT, pat=value)
    pages = path_to(0x5000 | W | A | D)
    assert text(pages, cpu)[4].split()[4] == name
    told = document(mappings(pages, cpu))["mappings"]
    assert isinstance(told, list) and [row["memory_type"] for row in told] == [name]


def test_lines_fit_100_columns_whatever_is_denied() -> None:
    pages = Pages()
    pages.put(ROOT, 511, PDPT | P | NX)
    tables = (PDPT, PD, PT, 0x14000)
    for table, below in zip(tables, tables[1:]):
        pages.put(table, 511, below | P | NX)
    pages.put(tables[-1], 511, 0x5000 | P | W | U)
    cpu = CpuState(ROOT, cr4=0x668 | 1 << 12, pat=0xF3)
    shown = text(pages, cpu)
    assert max(map(len, shown)) <= 100
    assert all(f"{name}[511]:wxu" in " ".join(shown) for name in ("PML5", "PML4", "PDPT", "PD"))


def test_large_pages_tell_their_size() -> None:
    pages = Pages()
    pages.put(ROOT, 0, PDPT | P | W)
    pages.put(PDPT, 1, 0x4000_0000 | P | W | PS)
    pages.put(PDPT, 2, PD | P | W)
    pages.put(PD, 0, 0x20_0000 | P | PS)
    found = document(mappings(pages, CpuState(ROOT)))["mappings"]
    assert isinstance(found, list)
    assert [(row["size"], row["level"]) for row in found] == [(1 << 30, 3), (1 << 21, 2)]
    assert [line.split()[5] for line in text(pages, CpuState(ROOT))[4:]] == ["1G", "2M"]


def test_what_could_not_be_told_names_the_entry_and_its_place() -> None:
    pages = path_to(0x5000)
    pages.put(ROOT, 7, 0x7F_0000 | P)
    pages.put(PT, 9, 1 << 51 | P)
    found = mappings(pages, CpuState(ROOT, max_phys_bits=40))
    said = list(incompleteness(found))
    assert said == [
        "the source does not hold the table at 0x7f0000,"
        f" to which PML4[7] at {ROOT + 56:#x} points",
        f"PT[9] at {PT + 72:#x} has a reserved bit set (0x8000000000001): what it maps faults",
    ]
    absent = mappings(Pages(), CpuState(ROOT))
    assert list(incompleteness(absent)) == [
        f"the source does not hold the top table at {ROOT:#x}"
    ]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1 << 57, "128 PiB"),
     ((1 << 20) - 1, "1.0 MiB"), (3 << 19, "1.5 MiB")],
)  # fmt: skip
def test_sizes_are_words(size: int, shown: str) -> None:
    assert size_text(size) == shown
