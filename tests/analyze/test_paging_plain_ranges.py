"""Mappings without numpy: the same ranges as numpy's, in every mode, and an end to the work."""

from __future__ import annotations

from collections.abc import Sequence

import naive_paging as naive
import numpy as np
import pytest
from hypothesis import given, settings
from paging_cases import ROOT, Case, P, Pages, U, W, cpu_of, legacy_cases, platform_of
from test_paging_effective import TABLES, webs

from cr3scope import limits
from cr3scope.paging import tables as page_tables
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.paging.plain_ranges import PlainRanges, plain_ranges
from cr3scope.paging.tables import entries_of, root_entries, table_entries
from cr3scope.render import maps, range_row
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import formats_of
from cr3scope.x86.platform import Platform


def both(pages: Pages, cpu: CpuState, platform: Platform = Platform.HARDWARE) -> tuple[PlainRanges, Mappings]:
    return plain_ranges(pages, cpu, platform), mappings(pages, cpu, platform)


def same(pages: Pages, machine: naive.Machine) -> None:
    cpu = cpu_of(machine)
    plain, fast = both(pages, cpu, platform_of(machine))
    assert [tuple(one) for one in plain.ranges] == [
        (int(fast.first[n]), int(fast.last[n]), int(fast.phys[n]), fast.kind(n)) for n in range(len(fast))
    ]
    assert sorted(plain.missing, key=place) == sorted(fast.missing, key=place) and plain.missing_root == fast.missing_root
    assert {place(one) for one in plain.reserved} == {place(one) for one in fast.reserved} and not plain.is_cut
    told = list(range_row.plain_text(plain, pages, cpu, "x"))
    assert told == list(maps.as_text(fast, pages, cpu, "x"))


def place(entry: EntryRef) -> tuple[int, int]:
    return entry.level, entry.phys


@pytest.mark.slow
@given(webs())
@settings(max_examples=25)
def test_in_long_mode_they_are_numpys(web: tuple[Pages, naive.Machine]) -> None:
    same(*web)


def test_of_entries_that_lead_to_one_missing_table_with_the_same_rights_both_tell_the_first() -> None:
    pages, gone = Pages(), 0x8000_0000
    pages.memory[ROOT] = [0] * 512
    pages.memory[ROOT][1], pages.memory[ROOT][2], pages.memory[ROOT][255] = gone | P | W | U, gone | P, gone | P | W | U
    for found in both(pages, CpuState(ROOT)):
        assert [one.index for one in found.missing] == [1, 2]


@pytest.mark.slow
@given(legacy_cases())
@settings(max_examples=15)
def test_outside_long_mode_they_are_numpys(case: Case) -> None:
    same(case.pages, case.machine)


def test_tables_that_point_to_one_another_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PLAIN_STEPS", 1 << 15)
    pages = Pages()
    for number, phys in enumerate(TABLES[:4]):
        pages.memory[phys] = [TABLES[(number + index) % 4] | P | W | U for index in range(512)]
    found = plain_ranges(pages, CpuState(ROOT))
    assert found.is_cut and len(found.ranges) <= limits.PLAIN_RANGES
    assert "the tables map more ranges than are listed" in list(range_row.incompleteness(found))


@pytest.mark.parametrize("cpu", [CpuState(ROOT), CpuState(ROOT, cr4=0x10, efer=0), CpuState(ROOT + 0x20, cr4=0x20, efer=0)])
def test_entries_without_numpy_are_the_same_numbers(cpu: CpuState, monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.arange(7, 519, dtype=np.uint64)
    pages: dict[int, bytes] = {ROOT: page.tobytes()}

    class Memory:
        def table(self, phys: int) -> page_tables.Entries | None:
            return entries_of(pages[phys]) if phys in pages else None

    def told() -> list[Sequence[int]]:
        form = formats_of(cpu)[0]
        found = [table_entries(Memory(), form, cpu.root), root_entries(Memory(), cpu)]
        return [[int(one[index]) for index in range(form.entries)] for one in found if one is not None]

    whole = told()
    monkeypatch.setattr(page_tables, "has_numpy", lambda: False)
    assert isinstance(Memory().table(ROOT), memoryview) and told() == whole and len(whole) == 2
