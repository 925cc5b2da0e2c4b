"""A mend is that of the whole part that was asked for in one, no more, and nothing is said of a table that nobody saw."""

from __future__ import annotations

import boot_builder as b
import pytest
from analyze.said import detail, fix
from boot_builder import Scene, healthy

from cr3scope.diagnose.finding import Finding
from cr3scope.input.capture.records import PlanStep
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.access import AccessKind

ANOTHER = 0xFFFF_A000_0000_0000  # a range of its own
FAR = 0x0800_0000
BEYOND_MAXPHYADDR = 1 << 51


def struck(scene: Scene) -> list[Finding]:
    return [one for one in analyze(scene.capture()).findings if one.step is not None]


def with_range(pages: int, rights: str = "rw-") -> Scene:
    """A range of data, all of which the last step of the plan reads."""
    scene = healthy()
    scene.map("table", "data", ANOTHER, FAR, pages * b.PAGE, rights)
    scene.boot.plan.append(PlanStep(0, 5, "scan", AccessKind.READ, ANOTHER, pages * b.PAGE, b.ENTRY))
    return scene


def test_the_rest_of_a_segment_loses_nx_with_the_page_that_is_entered() -> None:
    scene = healthy()
    for page in range(3):
        scene.tables.edit(b.KERNEL + page * b.PAGE, 1, set_bits=b.NX)
    (finding,) = struck(scene)
    assert fix(finding).count("clear NX") == 3
    assert {edit.entry.index for mend in finding.mends for edit in mend.edits} == {0, 1, 2}


def test_the_whole_stack_is_mapped_though_the_plan_touches_its_top_alone() -> None:
    scene = healthy()
    scene.unmap(b.STACK_GUARD + b.PAGE, 4 * b.PAGE)
    (finding,) = struck(scene)
    first, last = b.STACK_GUARD + b.PAGE, b.STACK_TOP - 1
    assert fix(finding).startswith(f"map {first:#x}..{last:#x} to {b.STACK_PHYS:#x} (rw-). ")


def test_what_is_mapped_is_left_as_it_is() -> None:
    scene = healthy()
    scene.unmap(b.STACK_GUARD + 3 * b.PAGE, 2 * b.PAGE)
    (finding,) = struck(scene)
    assert fix(finding).startswith(f"map {b.STACK_GUARD + 3 * b.PAGE:#x}..{b.STACK_TOP - 1:#x} ")


@pytest.mark.parametrize("edge", [b.STACK_GUARD, b.STACK_TOP])
def test_the_neighbours_of_a_part_are_left_as_they_are(edge: int) -> None:
    scene = healthy()
    scene.unmap(b.STACK_GUARD + b.PAGE, 4 * b.PAGE)
    (page,) = [mend.page for finding in struck(scene) for mend in finding.mends]
    assert page is not None and not page.virt <= edge < page.virt + page.size


def test_a_page_that_was_asked_for_otherwise_is_no_part() -> None:
    scene = with_range(4)
    scene.map("guard", "data", ANOTHER + 3 * b.PAGE, FAR + 3 * b.PAGE, b.PAGE, "r--")
    scene.unmap(ANOTHER, 4 * b.PAGE)
    pages = [mend.page for finding in struck(scene) for mend in finding.mends if mend.page]
    last = ANOTHER + 3 * b.PAGE
    assert [(one.virt, one.size, one.rights) for one in pages] == [(ANOTHER, 3 * b.PAGE, "rw-"), (last, b.PAGE, "r--")]


def test_a_range_of_hundreds_of_pages_is_mended_whole_and_then_the_plan_survives() -> None:
    scene = with_range(600)
    scene.unmap(ANOTHER, 600 * b.PAGE)
    (finding,) = struck(scene)
    assert fix(finding).startswith(f"map {ANOTHER:#x}..{ANOTHER + 600 * b.PAGE - 1:#x} to {FAR:#x} (rw-). ")


def test_of_more_pages_than_are_looked_at_is_said_that_they_need_the_same() -> None:
    scene = with_range(2100)
    scene.unmap(ANOTHER, 2100 * b.PAGE)
    (finding,) = struck(scene)
    assert "; the same for the pages behind them" in fix(finding)


def test_a_step_that_the_same_mend_lets_through_is_named_with_it() -> None:
    scene = healthy()
    scene.boot.plan.append(PlanStep(0, 5, "call", AccessKind.FETCH, b.KERNEL + 2 * b.PAGE, 1, b.ENTRY))
    for page in range(3):
        scene.tables.edit(b.KERNEL + page * b.PAGE, 1, set_bits=b.NX)
    (finding,) = struck(scene)
    assert "would strike again at call" in detail(finding)
    assert len(finding.mends) == 1


def test_nothing_is_said_of_a_table_that_only_a_mend_leads_to() -> None:
    scene = healthy()
    entry = scene.tables.edit(b.STACK_TOP - 8, 3, set_bits=BEYOND_MAXPHYADDR)
    del scene.tables.pages[scene.tables.get(entry) & 0x0007_FFFF_FFFF_F000]
    (finding,) = struck(scene)
    assert finding.rule == "reserved-bits"
    assert fix(finding).startswith(f"clear the reserved bits {BEYOND_MAXPHYADDR:#x} of PDPT[0]")
