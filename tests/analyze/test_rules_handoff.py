"""Rules that are proved by registers, order of records, descriptor tables and contents.

Each fires as the first finding on a boot that has just its fault, and is silent on its neighbours.
"""

from __future__ import annotations

from dataclasses import replace

import boot_builder as b
import handoff_scenes as scenes
import pytest
from analyze.said import detail, title
from boot_builder import Scene, healthy

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.input.capture.records import (
    Boot,
    Capture,
    CheckRecord,
    LoadedRecord,
    MemoryContents,
    SegmentRecord,
)
from cr3scope.input.logs.log_report import LogReport
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.ending import Ending
from cr3scope.x86.standing import Standing


def findings(scene: Scene) -> tuple[Finding, ...]:
    return analyze(scene.capture()).findings


FIRST: list[tuple[str, scenes.Break]] = [
    ("stale-map-key", scenes.stale_key),
    ("use-after-exit", scenes.print_after_exit),
    ("abi-mismatch", scenes.info_in("rcx")),
    ("abi-mismatch", scenes.info_in("rsi")),
    ("abi-mismatch", scenes.info_in_rcx_and_rdi_readable),
    ("stack-misaligned", scenes.push_too_many),
    ("selector-mismatch", scenes.foreign_selector_and_int3),
    ("selector-mismatch", lambda s: scenes.gates(s, 0x10)),
    ("selector-mismatch", lambda s: scenes.gates(s, 0x28)),
    ("missing-cli", scenes.interrupts_on_without_idt),
    ("missing-cli", scenes.interrupts_on_without_handlers),
    ("paddr-misload", scenes.entry_differs),
    ("bss-not-zeroed", scenes.bss_dirty),
    ("descriptor-stride", scenes.walked_with_sizeof),
    ("descriptor-stride", scenes.one_impossible_type),
    ("descriptor-stride", scenes.overlapping_map),
    ("firmware-tables-readonly", scenes.edit_of_live_tables),
    ("firmware-strict-nx", scenes.strict_firmware),
    ("entry-reads-unmapped-got", scenes.got_missing),
    ("wrong-entry", scenes.entry_default(0x40_1000)),
    ("wrong-entry", scenes.entry_default(0x20_1000)),
    ("wrong-entry", scenes.entry_default_under_identity),
    ("wrong-entry", scenes.entry_default_under_a_named_identity_map),
]


@pytest.mark.parametrize(("rule", "damage"), FIRST)
def test_the_fault_s_own_rule_is_the_first_finding_and_an_error(
    rule: str, damage: scenes.Break
) -> None:
    scene = healthy()
    damage(scene)
    first = findings(scene)[0]
    assert (first.rule, first.severity) == (rule, Severity.ERROR)


def test_a_stale_key_is_named_with_status_and_attempts() -> None:
    scene = healthy()
    scenes.stale_key(scene)
    (finding,) = findings(scene)
    assert "0x8000000000000002 (EFI_INVALID_PARAMETER" in title(finding)
    assert "1 attempt" in detail(finding)


def test_calls_after_exit_are_named() -> None:
    scene = healthy()
    scenes.print_after_exit(scene)
    (finding,) = findings(scene)
    assert "ConOut->OutputString" in title(finding)


def test_the_register_that_holds_the_boot_info_is_named() -> None:
    scene = healthy()
    scenes.info_in("rcx")(scene)
    finding = findings(scene)[0]
    assert "RCX" in title(finding) and "Microsoft" in title(finding) and "RDI is 0x0" in title(finding)
    assert finding.step == 3
    assert [f.rule for f in findings(scene)] == ["abi-mismatch"]


def test_a_misaligned_stack_says_which_access_needs_it() -> None:
    scene = healthy()
    scenes.push_too_many(scene)
    finding = findings(scene)[0]
    assert "multiple of 16" in title(finding) and "RSP % 16 = 8" in detail(finding)
    assert finding.step == 3


def test_a_misaligned_stack_that_nobody_needs_is_a_warning() -> None:
    scene = healthy()
    scenes.push_too_many(scene)
    del scene.boot.plan[3]
    (finding,) = findings(scene)
    assert (finding.rule, finding.severity) == ("stack-misaligned", Severity.WARNING)


def test_a_foreign_selector_names_the_gates_and_the_gdt_s_limit() -> None:
    scene = healthy()
    scenes.foreign_selector_and_int3(scene)
    finding = next(f for f in findings(scene) if f.rule == "selector-mismatch")
    assert "38h" in title(finding) and "limit is 0x2f" in title(finding)
    assert all(name in detail(finding) for name in ("#BP", "#DF", "#GP", "#PF"))
    assert finding.step == 1


def test_a_foreign_selector_in_the_firmware_s_idt_is_a_note_while_nothing_faults() -> None:
    scene = healthy()
    scene.boot.regions = [r for r in scene.boot.regions if r.role != "idt"]
    firmware_idt = 0x0FE0_0000
    scene.cpu(idt_base=firmware_idt)
    scene.tables.map(firmware_idt, firmware_idt, b.PAGE, "rw-")
    data = b.idt(selector=0x38)
    scene.boot.memories["idt", "handoff"] = MemoryContents(0, "idt", "handoff", firmware_idt, data)
    (finding,) = [f for f in findings(scene) if f.rule == "selector-mismatch"]
    assert finding.severity is Severity.NOTE


def test_interrupts_that_are_on_name_the_entry_that_hides_the_idt() -> None:
    scene = healthy()
    scenes.interrupts_on_without_idt(scene)
    finding = findings(scene)[0]
    assert finding.step == 0
    assert finding.entry is not None and finding.entry.phys == scene.tables.slot(b.IDT, 1)


def test_interrupts_that_are_on_over_a_good_idt_are_a_warning() -> None:
    scene = healthy()
    scene.cpu(rflags=scenes.RFLAGS_IF)
    (finding,) = findings(scene)
    assert (finding.rule, finding.severity) == ("missing-cli", Severity.WARNING)


def test_a_segment_that_differs_is_named_with_its_first_byte_and_the_entry() -> None:
    scene = healthy()
    scenes.entry_differs(scene)
    (finding,) = findings(scene)
    assert "segment 0 of kernel.elf" in title(finding) and "at the entry point" in title(finding)
    assert f"{b.KERNEL_PHYS + 0x10:#x}" in detail(finding) and "type 2" in detail(finding)


def test_dirty_bss_is_named_with_its_first_byte() -> None:
    scene = healthy()
    scenes.bss_dirty(scene)
    (finding,) = findings(scene)
    assert f"{b.KERNEL + 0x20800:#x}" in title(finding)


def test_the_write_to_a_live_table_names_entry_and_fault() -> None:
    scene = healthy()
    scenes.edit_of_live_tables(scene)
    finding = findings(scene)[0]
    assert "#PF (error 0003)" in detail(finding) and f"CR2={scenes.OLD_ROOT:#x}" in detail(finding)
    assert finding.entry is not None and finding.entry.phys == scenes.OLD_ROOT


def test_a_write_to_a_live_table_that_came_through_is_a_note() -> None:
    scene = healthy()
    scenes.edit_of_live_tables(scene)
    scene.boot.closed, scene.boot.complete = ["loader", "kernel"], True
    (finding,) = findings(scene)
    assert (finding.rule, finding.severity) == ("firmware-tables-readonly", Severity.NOTE)


def test_a_global_translation_that_survives_is_a_warning_about_hardware() -> None:
    scene = healthy()
    scenes.global_elsewhere(scene)
    found = [f for f in findings(scene) if f.rule == "stale-tlb"]
    assert len(found) == 1 and found[0].severity is Severity.WARNING
    assert "loader.text" in title(found[0]) and "0x30001000" in detail(found[0])
    assert "hardware" in detail(found[0])


def test_a_root_above_4_gib_is_a_note_about_the_other_cpus() -> None:
    scene = healthy()
    capture = scene.capture()
    high = b.ROOT + (1 << 32)
    dump = scene.boot.dumps["new"]
    tables = dump.tables | {high: dump.tables[b.ROOT]}
    scene.boot.dumps["new"] = replace(dump, cr3=high, tables=tables)
    scene.cpu(cr3=high)
    found = [f for f in analyze(capture).findings if f.rule == "ap-state"]
    assert len(found) == 1 and found[0].severity is Severity.NOTE
    assert "0x1000000" in detail(found[0])


def test_a_jump_to_a_linker_s_default_says_whose_it_is() -> None:
    for virt, linker in ((0x40_1000, "GNU ld"), (0x20_1100, "lld")):
        scene = healthy()
        scenes.entry_default(virt)(scene)
        finding = findings(scene)[0]
        assert f"{linker} puts code there by default" in detail(finding)
        assert f"{b.ENTRY:#x}" in detail(finding)
        assert finding.step == 2


def test_an_entry_outside_the_code_is_told_once() -> None:
    scene = healthy()
    scenes.entry_in_executable_data(scene)
    (finding,) = [f for f in findings(scene) if f.rule == "wrong-entry"]
    assert finding.step == 2


def test_zero_bytes_at_the_entry_strike_when_it_is_fetched() -> None:
    scene = healthy()
    scene.boot.memories["entry", "handoff"] = MemoryContents(
        0, "entry", "handoff", b.ENTRY, bytes(64)
    )
    finding = findings(scene)[0]
    assert (finding.rule, finding.step) == ("wrong-entry", 2)


def test_a_restart_without_any_exception_before_exit_may_be_the_watchdog() -> None:
    found = analyze(scenes.restarted(healthy(), None)).findings
    warnings = [f.rule for f in found if f.severity is Severity.WARNING]
    assert warnings == ["uefi-watchdog"]


SILENT: list[tuple[str, scenes.Break]] = [
    ("stale-map-key", scenes.exit_at_the_second_attempt),
    ("use-after-exit", scenes.print_before_exit),
    ("abi-mismatch", scenes.info_in_both),
    ("abi-mismatch", scenes.info_nowhere_known),
    ("stack-misaligned", scenes.aligned_access_that_is_aligned),
    ("stack-misaligned", scenes.jump_with_the_word_already_there),
    ("stack-misaligned", scenes.jump_to_a_kernel_that_aligns_its_stack),
    ("selector-mismatch", scenes.breakpoint_with_a_good_idt),
    ("selector-mismatch", scenes.gates_that_are_absent),
    ("selector-mismatch", scenes.gdt_not_recorded),
    ("missing-cli", scenes.interrupts_off_in_all_but_the_entry),
    ("missing-cli", lambda s: s.unmap(b.IDT)),
    ("paddr-misload", scenes.loaded_as_the_file_says),
    ("paddr-misload", scenes.bss_dirty),
    ("bss-not-zeroed", scenes.loaded_as_the_file_says),
    ("bss-not-zeroed", scenes.entry_differs),
    ("descriptor-stride", scenes.sane_map),
    ("descriptor-stride", scenes.one_overlap),
    ("descriptor-stride", scenes.small_map_with_one_overlap),
    ("firmware-tables-readonly", scenes.edit_of_a_writable_table),
    ("firmware-tables-readonly", scenes.edit_without_write_protection),
    ("firmware-tables-readonly", scenes.edit_by_the_kernel),
    ("firmware-tables-readonly", scenes.edit_of_the_new_tables),
    ("firmware-strict-nx", scenes.lax_firmware),
    ("firmware-strict-nx", scenes.nx_bits_without_nxe),
    ("entry-reads-unmapped-got", scenes.null_pointer_of_a_low_kernel),
    ("entry-reads-unmapped-got", scenes.read_of_a_range_with_a_name),
    ("entry-reads-unmapped-got", scenes.read_through_the_first_argument),
    ("stale-tlb", scenes.both_global),
    ("stale-tlb", scenes.not_global),
    ("stale-tlb", scenes.global_flushed),
    ("uefi-watchdog", scenes.silent_kernel),
    ("wrong-entry", scenes.kernel_where_it_was_loaded),
    ("wrong-entry", scenes.loader_of_whom_nobody_told),
]


@pytest.mark.parametrize(("rule", "neighbour"), SILENT)
def test_a_neighbour_of_the_fault_is_not_taken_for_it(rule: str, neighbour: scenes.Break) -> None:
    scene = healthy()
    neighbour(scene)
    assert rule not in [f.rule for f in findings(scene)]


def test_a_failed_exit_after_which_the_loader_gave_up_is_the_loader_s_own_report() -> None:
    scene = healthy()
    scenes.stale_key(scene)
    scene.boot.errors = [("ExitBootServices", "failed with status 8000000000000002", 0)]
    assert "stale-map-key" not in [f.rule for f in findings(scene)]


def test_zeros_at_the_entry_are_told_once() -> None:
    scene = healthy()
    scenes.entry_differs(scene)
    scene.boot.memories["entry", "handoff"] = MemoryContents(
        0, "entry", "handoff", b.ENTRY, bytes(64)
    )
    rules = [f.rule for f in findings(scene)]
    assert "wrong-entry" in rules and "paddr-misload" not in rules


def test_zeros_at_the_entry_hide_no_other_segment() -> None:
    scene = healthy()
    scenes.entry_differs(scene)
    scene.boot.loaded.append(LoadedRecord(0, "kernel.elf", 2, b.KERNEL + 0x20000, None))
    scene.boot.memories["entry", "handoff"] = MemoryContents(
        0, "entry", "handoff", b.ENTRY, bytes(64)
    )
    found = [f for f in findings(scene) if f.rule == "paddr-misload"]
    assert len(found) == 1 and "segment 2" in title(found[0])


def test_a_read_of_the_kernel_s_own_segment_is_no_missing_got() -> None:
    scene = healthy()
    got = b.KERNEL + 0x30000
    scene.boot.segments.append(
        SegmentRecord(0, "kernel.elf", 3, got, got + 0xFF, 0x0204_0000, 0x100, 0x100, 0, "rw-")
    )
    scenes.got_missing(scene)
    assert findings(scene)[0].rule == "code-unmapped"


@pytest.mark.parametrize("virt", [0x18, b.INFO + 0x10000, b.KERNEL - (1 << 32)])
def test_a_read_far_from_the_kernel_is_no_missing_got(virt: int) -> None:
    scene = healthy()
    scene.boot.plan[3] = replace(scene.boot.plan[3], virt=virt)
    assert findings(scene)[0].rule == "access-fault"


def test_a_read_far_behind_the_entry_is_no_missing_got() -> None:
    scene = healthy()
    scenes.got_missing(scene)
    scene.boot.plan[3] = replace(scene.boot.plan[3], rip=b.ENTRY + 0x400)
    assert findings(scene)[0].rule == "access-fault"


@pytest.mark.parametrize("damage", [None, scenes.restart_behind_a_foreseen_fault])
def test_a_restart_that_is_explained_is_not_the_watchdog_s(damage: scenes.Break | None) -> None:
    scene = healthy()
    if damage is not None:
        damage(scene)
    capture = scenes.restarted(scene, (0, 1) if damage is None else None)
    assert "uefi-watchdog" not in [f.rule for f in analyze(capture).findings]


def test_a_healthy_restart_is_not_the_watchdog_s() -> None:
    scene = healthy()
    capture = Capture(boots=[Boot(closed=["loader"]), *scene.capture().boots])
    assert "uefi-watchdog" not in [f.rule for f in analyze(capture).findings]


def test_what_no_capture_proves_is_explained_and_never_found() -> None:
    scene = healthy()
    scene.boot.checks = [CheckRecord(0, "cpu.flags", False, "")]
    told = [f.rule for f in findings(scene)]
    for rule in ("red-zone", "serial-absent", "interrupt-red-herring"):
        assert rule in BY_ID and rule not in told


def hung(standing: Standing | None, damage: scenes.Break | None = None) -> list[str]:
    """Rules that speak, the first first, of a boot that QEMU had to end."""
    scene = healthy()
    scene.boot.complete, scene.boot.closed = False, ["loader"]
    if damage is not None:
        damage(scene)
    report = LogReport(ending=Ending.HANG, detail="not done", source="run", standing=standing)
    return [f.rule for f in analyze(scene.capture(), report).findings]


def test_a_kernel_that_halts_with_interrupts_off_is_said_to() -> None:
    halted = Standing(0, b.ENTRY, halted=True, interrupts_on=False)
    assert hung(halted)[0] == "hang-hlt"
    assert "hang-loop" not in hung(halted)
    assert "hang-hlt" not in hung(halted, scenes.restart_behind_a_foreseen_fault)


def test_a_kernel_that_loops_is_said_to() -> None:
    loop = Standing(0, b.ENTRY + 0x40, halted=False, interrupts_on=False)
    assert hung(loop)[0] == "hang-loop"
    assert "hang-loop" not in hung(loop, scenes.restart_behind_a_foreseen_fault)


@pytest.mark.parametrize(
    "standing",
    [
        Standing(0, b.HANDOFF, halted=False, interrupts_on=False),
        Standing(0, b.ENTRY, halted=True, interrupts_on=True),
        None,
    ],
)
def test_a_hang_elsewhere_or_in_wait_is_no_loop_of_the_kernel(standing: Standing | None) -> None:
    assert not {"hang-hlt", "hang-loop"} & set(hung(standing))


def test_the_two_ways_to_hang_have_their_catalogue_names() -> None:
    assert {"hang-hlt", "hang-loop"} <= BY_ID.keys()
    assert not {"halted-forever", "spinning"} & BY_ID.keys()
