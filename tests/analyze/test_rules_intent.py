"""What the trace asked for against what the tables hold: each rule fires on its own difference."""

from __future__ import annotations

import time
from dataclasses import replace
from analyze.said import detail, title
from pathlib import Path

import boot_builder as b
import numpy as np
import pytest
from boot_builder import healthy
from intent_scenes import (
    ALIAS,
    DATA,
    PAT_4K,
    PCD,
    RODATA,
    Break,
    boot_info_over_a_table,
    cached_frame_buffer,
    change_map,
    each_text_page_one_on,
    edit,
    findings,
    full_identity_map,
    initrd_over_boot_info,
    kernel_loaded_over_the_loader,
    of_rule,
    pat_bit_in_a_pte,
    point_to,
    poke,
    read_only_over_the_stack,
    rodata_ends_in_the_first_data_page,
    rodata_takes_the_last_text_page,
    slot_in_the_user_half,
    slot_loses,
    slot_over_a_range,
    stack_over_text,
    stray_large_page,
    stray_page,
    tables_in_device_memory,
    two_stacks_in_one,
    uncached_alias,
    wc_frame_buffer,
    with_rights,
)

from cr3scope.diagnose.finding import Severity
from cr3scope.input.capture.planned_switch import planned_switch
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Capture
from cr3scope.model.asked.compare import Comparison, compare
from cr3scope.model.plan_prediction import predict_plan
from cr3scope.model.intent import Intent
from cr3scope.verdict.analysis import analyze

CAPTURES = Path(__file__).parents[1] / "captures"
ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

FAULTS: list[tuple[str, Severity, Break]] = [
    ("mapping-unasked", ERROR, stray_page("rwx")),
    ("mapping-unasked", ERROR, stray_page("rw-")),
    ("mapping-unasked", ERROR, stray_page("r-x")),
    ("mapping-unasked", WARNING, stray_page("r--")),
    ("mapping-unasked", WARNING, stray_large_page),
    ("wrong-frame", ERROR, each_text_page_one_on),
    ("wrong-frame", ERROR, lambda s: point_to(s, b.KERNEL, 0x0600_0000)),
    ("wrong-frame", ERROR, lambda s: point_to(s, b.INFO, b.INFO_PHYS + b.PAGE)),
    ("wrong-frame", ERROR, lambda s: edit(s, b.FRAMEBUFFER, 2, set_bits=2 << 20)),
    ("rights-stronger", ERROR, lambda s: edit(s, b.KERNEL, 1, set_bits=b.W)),
    ("rights-stronger", ERROR, lambda s: edit(s, RODATA, 1, set_bits=b.W)),
    ("rights-stronger", ERROR, lambda s: edit(s, DATA, 1, clear_bits=b.NX)),
    ("rights-stronger", WARNING, lambda s: edit(s, RODATA, 1, clear_bits=b.NX)),
    ("mapping-overwritten", ERROR, initrd_over_boot_info),
    ("mapping-overwritten", ERROR, read_only_over_the_stack(0)),
    ("shared-page-permissions", ERROR, read_only_over_the_stack(3)),
    ("shared-page-permissions", ERROR, rodata_takes_the_last_text_page),
    ("shared-page-permissions", ERROR, rodata_ends_in_the_first_data_page),
    ("overlapping-image", ERROR, stack_over_text),
    ("overlapping-image", ERROR, boot_info_over_a_table),
    ("overlapping-image", ERROR, kernel_loaded_over_the_loader),
    ("overlapping-image", ERROR, two_stacks_in_one),
    (
        "double-map-wx",
        ERROR,
        lambda s: s.map("patch window", "data", ALIAS, b.KERNEL_PHYS, b.PAGE, "rw-"),
    ),
    ("framebuffer-cached", WARNING, cached_frame_buffer),
    ("pat-misread", WARNING, pat_bit_in_a_pte),
    ("pat-misread", WARNING, lambda s: edit(s, b.INFO, 1, set_bits=PCD)),
    ("alias-conflict", WARNING, uncached_alias),
    ("table-memory-type", WARNING, tables_in_device_memory),
    ("table-memory-type", WARNING, lambda s: edit(s, b.KERNEL, 2, set_bits=PCD)),
    ("table-memory-type", WARNING, lambda s: edit(s, b.KERNEL, 4, set_bits=0x8)),
    ("recursive-slot", ERROR, slot_loses(0, b.W)),
    ("recursive-slot", WARNING, slot_loses(b.U, 0)),
    ("recursive-slot", WARNING, slot_loses(0, b.NX)),
    ("recursive-slot", WARNING, slot_in_the_user_half),
]


@pytest.mark.parametrize(("rule", "severity", "damage"), FAULTS)
def test_the_first_finding_is_the_rule_of_the_fault(
    rule: str, severity: Severity, damage: Break
) -> None:
    scene = healthy()
    damage(scene)
    first = findings(scene)[0]
    assert (first.rule, first.severity) == (rule, severity)


@pytest.mark.parametrize("levels", [4, 5])
def test_a_stray_page_is_found_at_either_depth(levels: int) -> None:
    scene = healthy(levels)
    stray_page("rwx")(scene)
    assert findings(scene)[0].rule == "mapping-unasked"


def test_an_identity_map_that_may_do_anything_is_one_note() -> None:
    scene = healthy()
    full_identity_map(scene)
    found = findings(scene)
    assert [(finding.rule, finding.severity) for finding in found] == [("double-map-wx", NOTE)]
    assert "identity map" in title(found[0])


def test_an_identity_map_over_the_frame_buffer_is_a_note() -> None:
    scene = healthy()
    wc_frame_buffer(scene)
    full_identity_map(scene)
    assert {finding.severity for finding in findings(scene)} == {NOTE}
    (conflict,) = of_rule(scene, "alias-conflict")
    assert "MTRR" in detail(conflict)


def test_a_patch_window_is_found_under_a_full_identity_map_too() -> None:
    scene = healthy()
    full_identity_map(scene)
    scene.map("patch window", "data", ALIAS, b.KERNEL_PHYS, b.PAGE, "rw-")
    first, *rest = of_rule(scene, "double-map-wx")
    assert first.severity is ERROR
    assert [finding.severity for finding in rest] == [NOTE]
    assert "patch window" in title(first) and "kernel.text" in title(first)
    assert first.range == (ALIAS, ALIAS + b.PAGE - 1)


def test_a_page_beside_a_range_is_named_with_its_bounds_and_entry() -> None:
    scene = healthy()
    stray_page("rw-")(scene)
    (finding,) = of_rule(scene, "mapping-unasked")
    assert finding.range == (b.INFO + b.PAGE, b.INFO + 2 * b.PAGE - 1)
    assert finding.entry is not None and finding.entry.level == 1 and finding.entry.index == 1


def test_many_unasked_ranges_are_counted_not_listed() -> None:
    scene = healthy()
    for page in range(2, 40, 2):
        poke(scene, b.INFO + page * b.PAGE, 0x0700_0000 | b.P | b.NX)
    found = of_rule(scene, "mapping-unasked")
    assert len(found) == 4
    assert "15 more" in detail(found[-1])


def test_a_wrong_frame_names_both_frames() -> None:
    scene = healthy()
    point_to(scene, b.INFO, 0x0600_0000)
    (finding,) = of_rule(scene, "wrong-frame")
    assert "0x6000000" in title(finding)
    assert hex(b.INFO_PHYS) in detail(finding)


def test_a_text_that_was_asked_to_be_writable_is_a_warning() -> None:
    scene = healthy()
    with_rights(scene, b.KERNEL, "rwx", 3)
    change_map(scene, "kernel.text", rights="rwx")
    (finding,) = of_rule(scene, "rights-stronger")
    assert finding.severity is WARNING
    assert "r-x" in detail(finding)


class Lines:
    """A source line for every call, by its return address."""

    def line_of_call(self, return_address: int) -> str | None:
        return f"loader.c:{return_address - b.LOADER - 0x3000 >> 4}"


def test_an_overwritten_range_names_both_calls() -> None:
    scene = healthy()
    initrd_over_boot_info(scene)
    found = analyze(scene.capture(), lines=Lines()).findings
    finding = next(finding for finding in found if finding.rule == "mapping-overwritten")
    numbers = [
        number
        for number, record in enumerate(scene.boot.maps, 1)
        if record.name in ("boot-info", "initrd")
    ]
    assert all(f"loader.c:{number}" in detail(finding) for number in numbers)
    assert finding.source == f"loader.c:{numbers[-1]}"
    assert finding.range == (b.INFO, b.INFO + b.PAGE - 1)


def test_an_overwritten_range_that_lost_nothing_is_a_note() -> None:
    scene = healthy()
    scene.map("boot-info to read", "boot-info", b.INFO, b.INFO_PHYS, b.PAGE, "r--")
    assert [(f.rule, f.severity) for f in findings(scene)] == [("mapping-overwritten", NOTE)]


def test_a_pat_bit_names_the_index_and_both_types() -> None:
    scene = healthy()
    pat_bit_in_a_pte(scene)
    (finding,) = of_rule(scene, "pat-misread")
    assert "is wc, asked was wb" in title(finding)
    assert "PAT index 4" in detail(finding) and "PT[0]" in detail(finding)


def test_a_pat_bit_that_selects_the_same_type_is_no_misreading() -> None:
    scene = healthy()
    edit(scene, b.KERNEL, 1, set_bits=PAT_4K)  # field 4 is write-back after a reset
    assert findings(scene) == ()


def test_user_code_that_the_leaf_locks_out_is_warned_of() -> None:
    scene = healthy()
    for level in (4, 3, 2):
        edit(scene, b.INFO, level, set_bits=b.U)
    change_map(scene, "boot-info", rights="rw-u")
    (finding,) = findings(scene)
    assert (finding.rule, finding.severity) == ("rights-weaker", WARNING)
    assert finding.entry is not None and finding.entry.level == 1


def test_user_code_that_a_parent_locks_out_is_left_to_its_own_rule() -> None:
    scene = healthy()
    edit(scene, b.INFO, 1, set_bits=b.U)
    change_map(scene, "boot-info", rights="rw-u")
    assert of_rule(scene, "rights-weaker") == []


def test_a_lost_w_is_found_where_write_protection_is_off() -> None:
    scene = healthy()
    scene.cpu(cr0=0x8000_0033)
    edit(scene, DATA, 1, clear_bits=b.W)
    assert [finding.range for finding in of_rule(scene, "rights-weaker")] == [
        (DATA, DATA + b.PAGE - 1)
    ]


def test_a_window_that_covers_a_range_is_an_error() -> None:
    scene = healthy()
    slot_over_a_range(scene)
    (finding,) = of_rule(scene, "recursive-slot")
    assert finding.severity is ERROR and "boot-info" in title(finding)


def capture_of(name: str) -> Capture:
    return read_capture((CAPTURES / name).read_bytes())


def compared(capture: Capture) -> Comparison:
    boot = capture.boots[-1]
    intent, switch = Intent(boot), planned_switch(boot)
    assert switch is not None
    predicted = predict_plan(switch, intent)
    found = compare(predicted.tables, predicted.cpu, intent, predicted.platform)
    assert found is not None
    return found


def test_a_real_boot_holds_what_was_asked_for() -> None:
    assert analyze(capture_of("healthy.serial.log")).findings == ()


def test_a_real_boot_has_a_piece_for_each_call() -> None:
    comparison = compared(capture_of("healthy.serial.log"))
    everything = comparison.pieces(comparison.granting(""))
    asked = {(record.virt, record.last) for record in comparison.intent.boot.maps}
    assert {(piece.virt, piece.last) for piece in everything} == asked


def test_any_number_of_tables_that_no_walk_reaches_keeps_nothing_from_being_compared() -> None:
    scene = healthy()
    stray_page("rwx")(scene)
    for number in range(1 << 13):
        scene.tables.pages[0x8_0000_0000 + number * b.PAGE] = scene.tables.pages[b.ROOT]
    assert len(of_rule(scene, "mapping-unasked")) == 1


def test_the_comparison_takes_no_time() -> None:
    """4 GiB in 4 KiB pages: two thousand tables, and as many `map` calls."""
    scene = healthy()
    for number in range(2048):
        phys = 0x4000_0000 + (number << 21)
        table = np.arange(phys, phys + (1 << 21), b.PAGE, dtype=np.uint64) | np.uint64(b.P | b.W)
        slot = scene.tables.slot(phys, 2)
        scene.tables.pages[0x8_0000_0000 + number * b.PAGE] = table
        scene.tables.put(slot, 0x8_0000_0000 + number * b.PAGE | b.P | b.W)
        change = {"virt": phys, "last": phys + (1 << 21) - 1, "phys": phys, "rights": "rwx"}
        scene.boot.maps.append(replace(scene.boot.maps[0], role="identity", **change))
    capture = scene.capture()
    intent, switch = Intent(capture.boots[0]), planned_switch(capture.boots[0])
    assert switch is not None
    predicted = predict_plan(switch, intent)
    start = time.process_time()
    comparison = compare(predicted.tables, predicted.cpu, intent, predicted.platform)
    assert time.process_time() - start < 10  # what grows with the square of the calls takes minutes
    assert comparison is not None
    assert not list(comparison.unasked()) and not list(comparison.elsewhere())
