"""Both page walks agree on random tables, bit for bit; the facts of the manuals by name."""

from __future__ import annotations

import naive_paging as naive
from hypothesis import given, settings
from paging_cases import Case, cases, cpu_of, platform_of

from cr3scope.capture.records import AccessKind
from cr3scope.paging.walk import PageFault, access


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


@given(cases())
@settings(max_examples=1500, deadline=None)
def test_both_walks_agree(case: Case) -> None:
    expected = naive.access(
        case.pages.memory, case.machine, case.virt, case.kind, case.user, case.implicit, case.width
    )
    assert outcome_of(case) == expected
