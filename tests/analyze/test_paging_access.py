"""Both page walks agree on random tables, bit for bit; the facts of the manuals by name."""

from __future__ import annotations

import naive_paging as naive
import pytest
from boot.reference import takes_all
from hypothesis import given, settings
from paging_cases import Case, Pages, cases, cpu_of, legacy_cases, platform_of

from cr3scope.paging.walk import PageFault, Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform, Quirk


def outcome_of(case: Case) -> naive.Outcome:
    """What the package says, in the words of the naive walk."""
    found = access(
        case.pages,
        cpu_of(case.machine),
        case.virt,
        AccessKind(case.kind),
        user=case.user,
        implicit=case.implicit,
        width=case.width,
        platform=platform_of(case.machine),
    )
    if isinstance(found, PageFault):
        places = tuple((entry.level, entry.index) for entry in found.guilty)
        return naive.Outcome(found.vector, found.error_code, found.cr2, places)
    return naive.Outcome(None, phys=found.phys, size=found.page_size)


@pytest.mark.parametrize("tcg", [True, False])
def test_an_access_over_the_end_of_the_address_space_goes_on_at_its_beginning_on_tcg_alone(
    tcg: bool,
) -> None:
    """Only the last page is mapped: TCG asks for page 0 then."""
    tables = Pages()
    for table in (0x1000, 0x2000, 0x3000, 0x4000):
        tables.put(table, 511, table + 0x1003)
    platform = Platform.TCG if tcg else Platform.HARDWARE
    found = access(tables, CpuState(cr3=0x1000), 2**64 - 4, AccessKind.READ, width=8, platform=platform)
    assert isinstance(found, PageFault)
    assert (found.vector, found.cr2) == ((14, 0) if tcg else (13, None))
    whole = access(tables, CpuState(cr3=0x1000), 2**64 - 8, AccessKind.READ, width=8, platform=platform)
    assert isinstance(whole, Translation)


@pytest.mark.slow
@given(cases())
@settings(max_examples=1500 if takes_all() else 100)  # others at each run
def test_both_walks_agree(case: Case) -> None:
    expected = naive.access(
        case.pages.memory, case.machine, case.virt, case.kind, case.user, case.implicit, case.width
    )
    assert outcome_of(case) == expected


@pytest.mark.slow
@given(legacy_cases())
@settings(max_examples=1500 if takes_all() else 100)  # others at each run
def test_both_walks_agree_outside_long_mode(case: Case) -> None:
    expected = naive.access(
        case.pages.memory, case.machine, case.virt, case.kind, case.user, case.implicit, case.width
    )
    assert outcome_of(case) == expected


@pytest.mark.parametrize("platform", [Platform.HARDWARE, Platform.TCG, Platform((7, 2)), Platform((11, 1))])
def test_a_platforms_word_names_it(platform: Platform) -> None:
    assert Platform.named(platform.word) == platform


@pytest.mark.parametrize("word", ["", "tcg 7", "tcg 7.2.22", "TCG", "kvm", "tcg 99999999999.1"])
def test_a_word_of_no_platform_names_none(word: str) -> None:
    assert Platform.named(word) is None


def test_a_difference_begins_and_ends_with_a_version() -> None:
    has = [Platform(version).has(Quirk.GATE_TIMES_16) for version in ((7, 2), (8, 0), (11, 1))]
    assert has == [True, False, False]
    begun = [Platform(version).has(Quirk.CACHES_UNCHECKED) for version in ((7, 2), (9, 0), (9, 1), (11, 1))]
    assert begun == [False, False, True, True] and Platform.TCG.has(Quirk.CACHES_UNCHECKED) and not Platform.HARDWARE.has(Quirk.CACHES_UNCHECKED)
    assert not Platform.HARDWARE.has(Quirk.WRAPS_AROUND) and Platform.TCG.has(Quirk.WRAPS_AROUND)
