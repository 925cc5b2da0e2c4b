"""Effective mappings equal a plain enumeration of every page, merged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import naive_paging as naive
import pytest
from boot.reference import takes_all
from hypothesis import given, settings
from hypothesis import strategies as st
from paging_cases import NX, PS, ROOT, Case, P, Pages, U, W, cpu_of, entries, legacy_cases, machines, platform_of

from cr3scope.paging import effective
from cr3scope.paging.effective import MOST_ROWS, Mappings, mappings
from cr3scope.paging.tables import Entries
from cr3scope.x86.cpu_state import CpuState

# A few places in each table, neighbours and both ends among them, so that ranges meet.
INDICES = (0, 1, 2, 255, 256, 257, 510, 511)
TABLES = [ROOT + 0x1000 * number for number in range(6)]


@dataclass(frozen=True)
class Row:
    first: int
    last: int
    phys: int
    level: int
    rights: str
    pat: int


def rows_of(found: Mappings) -> list[Row]:
    return [
        Row(
            int(found.first[n]), int(found.last[n]), int(found.phys[n]), int(found.levels[n]),
            found.rights(n), int(found.pat_indices[n]),
        )
        for n in range(len(found))
    ]  # fmt: skip


def merged(pages: Pages, machine: naive.Machine) -> list[Row]:
    """Neighbours that go on in both address spaces with everything else equal are one row."""
    rows: list[Row] = []
    for page in naive.pages(pages.memory, machine):
        last = page.virt + 2 ** naive.page_bits(page.level, machine) - 1
        row = Row(page.virt, last, page.phys, page.level, page.rights, page.pat)
        if rows:
            before = rows[-1]
            size = before.last - before.first + 1
            if row == Row(
                before.last + 1, last, before.phys + size, before.level, before.rights, before.pat
            ):
                row = Row(before.first, last, before.phys, row.level, row.rights, row.pat)
                rows.pop()
        rows.append(row)
    return rows


def mapped(pages: Pages, machine: naive.Machine) -> Mappings:
    return mappings(pages, cpu_of(machine), platform_of(machine))


@pytest.mark.slow
@given(legacy_cases())
@settings(max_examples=100)
def test_outside_long_mode_every_page_is_mapped_as_a_walk_finds_it(case: Case) -> None:
    assert rows_of(mapped(case.pages, case.machine)) == merged(case.pages, case.machine)


@st.composite
def webs(draw: st.DrawFn) -> tuple[Pages, naive.Machine]:
    """A few tables whose entries point anywhere: to frames, to one another, to themselves."""
    machine = draw(machines())
    pages = Pages({phys: [0] * 512 for phys in TABLES})
    frames = [0x8000_0000, 0x8000_1000, 0x8020_0000, 0xC000_0000]
    for phys in TABLES:
        for index in draw(st.lists(st.sampled_from(INDICES), max_size=4, unique=True)):
            target = draw(st.sampled_from([*TABLES, *frames, 0x7000]))
            pages.put(phys, index, draw(entries(target, draw(st.sampled_from((2, 4))))))
    return pages, machine


@pytest.mark.slow
@given(webs())
@settings(max_examples=400 if takes_all() else 75)
def test_mappings_equal_every_page_enumerated(web: tuple[Pages, naive.Machine]) -> None:
    pages, machine = web
    found = mapped(pages, machine)
    assert rows_of(found) == merged(pages, machine)
    assert not found.is_cut


class Chain:
    """ROOT and one table below it for each level, linked at index 0 with full rights."""

    def __init__(self, levels: int = 4) -> None:
        self.machine = naive.Machine(ROOT, levels=levels)
        self.pages = Pages()
        for level in range(levels, 1, -1):
            self.pages.put(self.table(level), 0, self.table(level - 1) | P | W | U)
        self.pages.memory[self.table(1)] = [0] * 512

    def table(self, level: int) -> int:
        return ROOT + 0x1000 * (self.machine.levels - level)

    def put(self, level: int, index: int, value: int) -> None:
        self.pages.put(self.table(level), index, value)

    @property
    def rows(self) -> list[Row]:
        rows = rows_of(mapped(self.pages, self.machine))
        assert rows == merged(self.pages, self.machine)
        return rows


def test_equal_neighbours_merge_over_the_borders_of_tables() -> None:
    chain = Chain()
    other = ROOT + 0x10000
    chain.put(2, 1, other | P | W | U)
    chain.pages.memory[other] = [0] * 512
    for number in range(512):
        chain.put(1, number, 0x80_0000 + number * 0x1000 | P | W)
        chain.pages.put(other, number, 0xA0_0000 + number * 0x1000 | P | W)
    assert chain.rows == [Row(0, 0x3F_FFFF, 0x80_0000, 1, "rwx-", 0)]


def test_a_budget_of_ranges_counts_them_joined() -> None:
    """A whole table of pages that go on is one range: an identity map of single pages is no fault."""
    chain = Chain()
    for number in range(512):
        chain.put(1, number, 0x80_0000 + number * 0x1000 | P | W)
    cpu = cpu_of(chain.machine)
    assert not mappings(chain.pages, cpu, most=1).is_cut
    chain.put(1, 7, 0)
    assert mappings(chain.pages, cpu, most=1).is_cut
    assert not mappings(chain.pages, cpu, most=2).is_cut


@pytest.mark.parametrize(
    "second",
    [
        0x9000 | P | W, 0x8000 | P | W, 0x9000 | P, 0x9000 | P | W | U, 0x9000 | P | W | NX,
        0x9000 | P | W | 8, 0x9000 | P | W | 1 << 7,
    ],
)  # fmt: skip
def test_neighbours_merge_only_if_frames_rights_and_memory_type_go_on(second: int) -> None:
    chain = Chain()
    chain.put(1, 4, 0x8000 | P | W)
    chain.put(1, 5, second)
    assert len(chain.rows) == (1 if second == 0x9000 | P | W else 2)


def test_frames_that_go_on_in_another_table_elsewhere_do_not_merge() -> None:
    chain = Chain()
    chain.put(2, 5, ROOT + 0x10000 | P | W | U)
    chain.put(1, 0, 0x20_0000 | P)
    chain.pages.put(ROOT + 0x10000, 1, 0x20_1000 | P)
    assert [row.first for row in chain.rows] == [0, 0xA0_1000]


def test_pages_of_different_sizes_stay_apart() -> None:
    chain = Chain()
    chain.put(1, 511, 0x3F_F000 | P | W)
    chain.put(2, 1, 0x40_0000 | P | W | PS)
    assert [row.level for row in chain.rows] == [1, 2]


@pytest.mark.parametrize("levels", [4, 5])
def test_nothing_merges_across_the_gap_between_the_halves(levels: int) -> None:
    chain = Chain(levels)
    full = Pages()
    low, high = 0x1_0000, 0x2_0000
    for side, index, frame in ((low, 511, 0x8000), (high, 0, 0x9000)):
        for level in range(levels - 1, 1, -1):
            full.put(side + 0x1000 * level, index, side + 0x1000 * (level - 1) | P | W)
        full.put(side + 0x1000, index, frame | P | W)
        top = 255 if side == low else 256
        full.put(ROOT - 0x1000, top, side + 0x1000 * (levels - 1) | P | W)
    chain.pages = full
    chain.machine = naive.Machine(ROOT - 0x1000, levels=levels)
    half = 2 ** (47 if levels == 4 else 56)
    assert [(row.first, row.last) for row in chain.rows] == [
        (half - 0x1000, half - 1), (2**64 - half, 2**64 - half + 0xFFF)
    ]  # fmt: skip


@pytest.mark.parametrize("levels", [4, 5])
def test_the_recursive_slot_maps_every_table_at_its_place_in_the_window(levels: int) -> None:
    chain = Chain(levels)
    chain.put(levels, 510, ROOT | P | W | NX)
    chain.put(1, 7, 0x20_0000 | P | W | U)
    rows = chain.rows
    top_bits = 9 * levels + 12
    sign = 2**64 - 2**top_bits
    window = (510 << top_bits - 9) + sign
    top_table = sum(510 << 12 + 9 * n for n in range(levels)) + sign
    maps = {row.first: row for row in rows}
    assert maps[top_table].phys == ROOT
    assert maps[window].phys == chain.table(1)
    assert {row.rights for row in rows if row.first >= window} == {"rw--"}


def test_a_table_shared_at_two_rights_keeps_both() -> None:
    chain = Chain()
    chain.put(4, 1, chain.table(3) | P | U)
    chain.put(4, 2, chain.table(3) | P | W | NX)
    chain.put(1, 0, 0x20_0000 | P | W | U)
    assert [row.rights for row in chain.rows] == ["rwxu", "r-xu", "rw--"]


@dataclass
class Counting:
    """Counts how often each table is read."""

    pages: Pages
    reads: Counter[int] = field(default_factory=Counter)

    def table(self, phys: int) -> Entries | None:
        self.reads[phys] += 1
        return self.pages.table(phys)


def reads_of(chain: Chain) -> Counter[int]:
    counting = Counting(chain.pages)
    mappings(counting, cpu_of(chain.machine), platform_of(chain.machine))
    return counting.reads


def test_cost_is_that_of_the_tables_whatever_they_map() -> None:
    chain = Chain()
    for index in range(1, 512):
        chain.put(3, index, index << 30 | P | W | U | PS)
    chain.put(1, 0, 0x20_0000 | P | W | U)
    assert reads_of(chain) == {chain.table(level): 1 for level in (4, 3, 2, 1)}


def test_a_table_that_many_entries_share_is_read_once() -> None:
    chain = Chain()
    for index in range(512):
        chain.put(3, index, chain.table(2) | P | W | U)
        chain.put(2, index, chain.table(1) | P | W | U)
    chain.put(1, 0, 0x20_0000 | P | W | U)
    assert reads_of(chain) == {chain.table(level): 1 for level in (4, 3, 2, 1)}
    assert len(mapped(chain.pages, chain.machine)) == 512 * 512


@pytest.mark.parametrize("levels", [4, 5])
def test_cycles_and_self_maps_are_read_once_for_each_level(levels: int) -> None:
    chain = Chain(levels)
    chain.put(levels, 510, ROOT | P | W | U)
    chain.put(2, 3, chain.table(3) | P | W | U)
    reads = reads_of(chain)
    assert reads[ROOT] == levels, "the root stands for a table of every level in its own window"
    assert max(reads.values()) <= levels


@pytest.mark.parametrize("level", [4, 3, 2])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_table_under_a_restrictive_and_a_permissive_parent_is_read_for_each(
    level: int, order: tuple[int, int]
) -> None:
    chain = Chain()
    chain.put(level, 0, 0)
    restrictive, permissive = order
    chain.put(level, restrictive, chain.table(level - 1) | P | NX)
    chain.put(level, permissive, chain.table(level - 1) | P | W | U)
    chain.put(1, 0, 0x20_0000 | P | W | U)
    shared = {chain.table(below): 2 for below in range(level - 1, 0, -1)}
    assert {phys: count for phys, count in reads_of(chain).items() if phys in shared} == shared
    rights = {row.first >> 12 + 9 * (level - 1): row.rights for row in chain.rows}
    assert rights == {restrictive: "r---", permissive: "rwxu"}


def test_a_list_that_is_too_long_is_cut_behind_its_first_ranges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = Chain()
    chain.put(2, 0, 0x4000_0000 | P | PS)
    chain.put(2, 1, chain.table(1) | P | W)
    chain.put(2, 3, 0x8000_0000 | P | PS)
    for index in range(0, 8, 2):
        chain.put(1, index, 0x20_0000 | P)
    whole = chain.rows
    for most in (6, 5, 3, 1):
        monkeypatch.setattr(effective, "MOST_ROWS", most)
        found = mapped(chain.pages, chain.machine)
        assert found.is_cut == (most < len(whole))
        cut = rows_of(found)
        assert cut == whole[: len(cut)] and 0 < len(cut) <= most


def test_rights_of_the_leaf_are_no_more_than_those_of_its_parents() -> None:
    chain = Chain()
    chain.put(4, 0, chain.table(3) | P | NX)
    chain.put(1, 0, 0x20_0000 | P | W | U)
    assert [row.rights for row in chain.rows] == ["r---"]


def test_bad_entries_are_named_and_map_nothing() -> None:
    chain = Chain()
    chain.put(4, 3, chain.table(3) | P | PS)
    chain.put(3, 4, 0x7777_0000 | P)
    found = mapped(chain.pages, chain.machine)
    assert len(found) == 0
    assert [(entry.level, entry.index) for entry in found.reserved] == [(4, 3)]
    assert [(entry.level, entry.index) for entry in found.missing] == [(3, 4)]
    assert found.reserved[0].phys == ROOT + 24
    assert found.missing[0].phys == chain.table(3) + 32


def test_a_missing_root_is_told() -> None:
    found = mappings(Pages(), CpuState(cr3=0x5000))
    assert len(found) == 0 and found.missing_root == 0x5000


def test_memory_types_follow_the_pat() -> None:
    chain = Chain()
    for index in range(4):
        chain.put(1, 2 * index, 0x20_0000 | P | index << 3)
    chain.put(1, 8, 0x20_0000 | P | 1 << 7)
    chain.put(2, 1, 0x40_0000 | P | PS | 1 << 12 | 1 << 3)
    pat = 0x0007_0405_0107_0406
    found = mappings(chain.pages, CpuState(cr3=ROOT, pat=pat))
    types = [found.memory_type(row) for row in range(len(found))]
    assert types == ["wb", "wt", "uc-", "wc", "wp", "wt"]


def test_a_web_of_full_cyclic_tables_is_bounded() -> None:
    """Every entry of every level points on: 2^36 pages, of which the list holds a part."""
    pages = Pages({ROOT: [ROOT | P | W] * 512})
    found = mapped(pages, naive.Machine(ROOT))
    assert found.is_cut and 0 < len(found) <= MOST_ROWS
