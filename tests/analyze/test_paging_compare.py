"""Differences of two address spaces: exactly the pages that differ, in as few ranges as can be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from paging_cases import NX, PS, ROOT, A, D, P, Pages, U, W

from cr3scope.paging.compare import Difference, differences
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.render.diff import as_dict, as_text
from cr3scope.x86.cpu_state import CpuState

PAGE = 0x1000
PDPT, PD, PT = 0x11000, 0x12000, 0x13000
TOP = 0xFFFF_FFFF_FFE0_0000  # the last 2 MiB of the address space
LAST = (1 << 64) - 1

leaves = st.sampled_from(
    [0, 0x5000 | P | W, 0x6000 | P | W, 0x7000 | P | W, 0x5000 | P, 0x6000 | P | NX,
     0x6000 | P | 0x10]
)  # fmt: skip
tables = st.lists(leaves, min_size=8, max_size=8)


def space(entries: list[int], pat: int | None = None, first: int = 504) -> Mappings:
    """The last pages of the address space, mapped by these entries."""
    pages = Pages()
    pages.put(ROOT, 511, PDPT | P | W | U)
    pages.put(PDPT, 511, PD | P | W | U)
    pages.put(PD, 511, PT | P | W | U)
    pages.put(PT, 0, 0)
    for number, entry in enumerate(entries):
        pages.put(PT, first + number, entry)
    cpu = CpuState(ROOT) if pat is None else CpuState(ROOT, pat=pat)
    return mappings(pages, cpu)


def huge(entry: int) -> Mappings:
    pages = Pages()
    pages.put(ROOT, 511, PDPT | P | W | U)
    pages.put(PDPT, 511, PD | P | W | U)
    pages.put(PD, 511, entry | PS | P)
    return mappings(pages, CpuState(ROOT))


def pages_of(found: list[Difference]) -> set[int]:
    return {page for one in found for page in range(one.first >> 12, (one.last >> 12) + 1)}


@given(tables, tables)
def test_exactly_the_pages_that_differ_are_told(left: list[int], right: list[int]) -> None:
    found = differences(space(left), space(right))
    first = (TOP >> 12) + 504
    # No two of the leaves map alike, so that unequal entries are a difference.
    assert pages_of(found) == {first + n for n in range(8) if left[n] != right[n]}
    assert all(one.first <= one.last for one in found)
    assert all(one.last < two.first for one, two in zip(found, found[1:]))


@given(tables, tables)
def test_each_side_tells_what_it_maps_there(left: list[int], right: list[int]) -> None:
    mine, other = space(left), space(right)
    found = differences(mine, other)
    told = as_dict(found, mine, other, [])["differences"]
    assert isinstance(told, list)
    for one in told:
        number = (int(one["first"], 16) - TOP) // PAGE - 504
        for entry, side in ((left[number], one["left"]), (right[number], one["right"])):
            assert (side is None) == (entry == 0)
            if side is not None:
                assert int(side["phys"], 16) == entry & 0x000F_FFFF_FFFF_F000
                assert side["rights"][1] == ("w" if entry & W else "-")


@given(tables, tables)
def test_swapping_the_sides_swaps_the_answer(left: list[int], right: list[int]) -> None:
    mine, other = space(left), space(right)
    swapped = [
        Difference(one.first, one.last, one.right_row, one.left_row)
        for one in differences(other, mine)
    ]
    assert differences(mine, other) == swapped


def test_pages_that_differ_alike_are_one_range() -> None:
    rising = [(0x5000 + number * PAGE) | P for number in range(8)]
    found = differences(space([entry | W for entry in rising]), space(rising))
    (only,) = found
    assert (only.first, only.last) == (TOP + 504 * PAGE, LAST)


def test_nothing_against_everything_reaches_the_last_address() -> None:
    empty = space([])
    for found in (differences(empty, huge(0x20_0000)), differences(huge(0x20_0000), empty)):
        (only,) = found
        assert (only.first, only.last) == (TOP, LAST)
    assert differences(empty, empty) == []


def test_the_size_of_pages_is_no_difference() -> None:
    small = [(0x20_0000 + number * PAGE) | P | W | A | D for number in range(512)]
    assert differences(space(small, first=0), huge(0x20_0000 | W)) == []


def test_one_page_changed_in_a_large_one_is_found() -> None:
    small = [(0x20_0000 + number * PAGE) | P | W for number in range(512)]
    small[100] &= ~W
    (only,) = differences(space(small, first=0), huge(0x20_0000 | W))
    assert (only.first, only.last) == (TOP + 100 * PAGE, TOP + 101 * PAGE - 1)


def test_another_memory_type_is_a_difference_but_another_encoding_of_it_is_none() -> None:
    through_pat = [0x5000 | P | 1 << 4]  # PCD: field 2 of the PAT
    assert len(differences(space(through_pat), space([0x5000 | P]))) == 1
    all_write_back = 0x0606_0606_0606_0606
    same = differences(space(through_pat, all_write_back), space([0x5000 | P], all_write_back))
    assert same == []


def test_the_text_names_both_sides_and_fits_100_columns() -> None:
    mine, other = space([0x5000 | P | W]), space([0x6000 | P | NX])
    shown = "\n".join(as_text(differences(mine, other), mine, other, ("one", "two"))).split("\n")
    assert shown[:3] == ["1 range differs, 4 KiB", "- one", "+ two"]
    assert "rwx-" in shown[5] and "r---" in shown[6]
    assert max(map(len, shown)) <= 100


def test_many_differences_are_found_in_a_moment() -> None:
    count = 1 << 18
    first = np.arange(count, dtype=np.uint64) << np.uint64(13)
    phys = np.zeros(count, dtype=np.uint64)
    kinds = np.full(count, 1 << 3, dtype=np.uint64)
    mine = Mappings(first, first + np.uint64(PAGE - 1), phys, kinds, 0)
    other = Mappings(first, first + np.uint64(PAGE - 1), phys, kinds | np.uint64(2), 0)
    assert len(differences(mine, other)) == count
