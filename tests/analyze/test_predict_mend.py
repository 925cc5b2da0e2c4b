"""What strikes next: each mend is the smallest one, proved, and never touches the dump."""

from __future__ import annotations

import boot_builder as b
from analyze.said import fix
from boot_builder import Scene, healthy
from step_scenes import foreseen

from cr3scope.diagnose.finding import Severity
from cr3scope.model import plan
from cr3scope.verdict.analysis import analyze


def struck_rules(scene: Scene) -> list[str]:
    return [f.rule for f in analyze(scene.capture()).findings if f.step is not None]


def test_faults_are_listed_in_the_order_in_which_they_strike() -> None:
    scene = healthy()
    scene.unmap(b.INFO)
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    scene.unmap(b.HANDOFF & ~0xFFF)
    assert struck_rules(scene) == [
        "identity-missing-trampoline",
        "stack-readonly",
        "nx-leaf-code",
        "boot-info-unmapped",
    ]


def test_two_bits_in_the_path_of_one_access_are_two_faults() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    assert struck_rules(scene) == ["nx-upper-level", "nx-leaf-code"]


def test_the_mended_tables_carry_the_whole_plan() -> None:
    scene = healthy()
    scene.tables.put(b.ROOT + 8 * 511, 0)
    scene.tables.edit(b.STACK_TOP - 8, 3, clear_bits=b.W)
    found = foreseen(scene)
    assert any(fault for _, fault in plan.foreseen(found.tables, found.cpu, scene.boot.plan, found.platform))
    assert not any(fault for _, fault in plan.foreseen(found.mended, found.cpu, scene.boot.plan, found.platform))


def test_mending_leaves_the_dump_as_it_was() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    scene.unmap(b.INFO)
    before = {phys: page.copy() for phys, page in scene.tables.pages.items()}
    analyze(scene.capture())
    assert scene.tables.pages.keys() == before.keys()
    assert all((scene.tables.pages[phys] == before[phys]).all() for phys in before)


def test_a_missing_page_is_mended_to_the_frame_and_rights_that_the_trace_names() -> None:
    scene = healthy()
    scene.unmap(b.KERNEL)
    finding = analyze(scene.capture()).findings[0]
    assert f"map {b.KERNEL:#x}..{b.KERNEL + 0xFFF:#x} to {b.KERNEL_PHYS:#x} (r-x)" in fix(finding)


def test_a_lost_present_bit_is_mended_by_that_bit_alone() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, clear_bits=b.P)
    finding = analyze(scene.capture()).findings[0]
    assert "set P (bit 0) of PT[0]" in fix(finding)


def test_what_lies_below_a_missing_table_is_blamed_on_the_entry_that_is_missing() -> None:
    scene = healthy()
    scene.tables.put(b.ROOT + 8 * 511, 0)
    step = scene.boot.plan[2]
    second = b.KERNEL + b.PAGE
    scene.boot.plan.append(type(step)(0, 5, "kernel_main", step.kind, second, 1, second))
    findings = analyze(scene.capture()).findings
    entries = {f.entry.phys for f in findings if f.entry and f.severity is Severity.ERROR}
    assert entries == {b.ROOT + 8 * 511}


def test_no_mend_is_named_for_a_jump_to_what_nobody_meant_as_code() -> None:
    scene = healthy()
    data = b.KERNEL + 0x20000
    step = scene.boot.plan[2]
    scene.boot.plan[2] = type(step)(0, 2, "jump into data", step.kind, data, 4, data)
    finding = analyze(scene.capture()).findings[0]
    assert finding.rule == "wrong-entry"
    assert "clear NX" not in fix(finding)


def test_a_fault_without_a_mend_does_not_hide_the_next_one() -> None:
    scene = healthy()
    step = scene.boot.plan[1]
    wrong = 0x0000_FE00_0000_4FF8
    scene.boot.plan[1] = type(step)(0, 1, "push", step.kind, wrong, 8, step.rip)
    scene.unmap(b.INFO)
    assert struck_rules(scene) == ["non-canonical", "boot-info-unmapped"]


def test_neighbouring_pages_are_mended_as_one_range() -> None:
    scene = healthy()
    scene.unmap(b.KERNEL, 2 * b.PAGE)
    step = scene.boot.plan[2]
    wide = type(step)(0, 2, "kernel text read", step.kind, b.KERNEL, 2 * b.PAGE, b.ENTRY)
    scene.boot.plan[2] = wide
    finding = analyze(scene.capture()).findings[0]
    assert f"map {b.KERNEL:#x}..{b.KERNEL + 0x1FFF:#x} to {b.KERNEL_PHYS:#x} (r-x)." in fix(finding)


def test_a_lost_present_bit_over_a_wrong_frame_is_mended_by_the_right_frame() -> None:
    scene = healthy()
    scene.tables.put(scene.tables.slot(b.INFO, 1), b.INFO_PHYS + 0x5000)
    finding = analyze(scene.capture()).findings[0]
    assert f"to {b.INFO_PHYS:#x} (rw-)" in fix(finding)


def test_of_two_calls_that_mapped_an_address_the_last_names_the_frame() -> None:
    scene = healthy()
    scene.map("again", "boot-info", b.INFO, 0x0555_0000, b.PAGE, "r--")
    scene.unmap(b.INFO)
    assert "to 0x5550000 (r--)" in fix(analyze(scene.capture()).findings[0])


def test_a_reserved_bit_in_front_of_nx_is_one_fault_after_the_other() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX | 1 << 45)
    assert struck_rules(scene) == ["reserved-bits", "nx-leaf-code"]


def test_clearing_reserved_bits_is_no_mend_where_it_leaves_a_wrong_frame() -> None:
    scene = healthy()
    wrong = b.FRAMEBUFFER_PHYS + 0x60_2000
    scene.tables.put(scene.tables.slot(b.FRAMEBUFFER, 2), wrong | b.P | b.W | b.PS)
    finding = analyze(scene.capture()).findings[0]
    assert finding.rule == "reserved-bits"
    assert "clear the reserved bits" not in fix(finding)
