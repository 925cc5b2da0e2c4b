"""Which call is named as the author of an entry."""

from __future__ import annotations

import boot_builder as b
from boot_builder import Scene, healthy

from cr3scope.diagnose.finding import Finding
from cr3scope.input.capture.records import Capture, SetRecord
from cr3scope.verdict.analysis import analyze


class Lines:
    """Every caller is its own line."""

    def line_of_call(self, return_address: int) -> str | None:
        return f"loader/x.c:{return_address:x}"


def first_finding(capture: Capture) -> Finding:
    return analyze(capture, lines=Lines()).findings[0]


def caller_of_map(scene: Scene, name: str) -> str:
    return f"loader/x.c:{next(m.caller for m in scene.boot.maps if m.name == name):x}"


def test_a_leaf_was_written_by_the_call_that_mapped_its_address() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    assert first_finding(scene.capture()).source == caller_of_map(scene, "kernel.text")


def test_of_two_calls_that_mapped_an_address_the_last_is_named() -> None:
    scene = healthy()
    scene.map("again", "text", b.KERNEL, b.KERNEL_PHYS, b.PAGE, "r-x")
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    assert first_finding(scene.capture()).source == caller_of_map(scene, "again")


def test_an_upper_entry_was_written_by_the_call_that_allocated_the_table_below() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    assert first_finding(scene.capture()).source == f"loader/x.c:{b.LOADER + 0x1100:x}"


def test_a_direct_write_of_an_entry_stands_above_all_else_and_the_last_one_counts() -> None:
    scene = healthy()
    phys = scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    for caller in (0x111, 0x222):
        scene.boot.sets.append(SetRecord(0, phys, 4, 511, 0, 0, caller))
    assert first_finding(scene.capture()).source == "loader/x.c:222"


def test_an_absent_entry_is_owed_by_the_call_that_should_have_made_it() -> None:
    scene = healthy()
    scene.unmap(b.INFO)
    assert first_finding(scene.capture()).source == caller_of_map(scene, "boot-info")


def test_a_range_that_nobody_asked_for_has_no_author() -> None:
    scene = healthy()
    scene.forget("loader.text")
    assert first_finding(scene.capture()).source is None
