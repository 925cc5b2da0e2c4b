"""Each rule fires on its own fault, as the first finding, and names the entry and what it kills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import boot_builder as b
import numpy as np
import pytest
from analyze.said import detail, fix, title
from boot.reference import sample
from boot_builder import Scene, healthy

from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.input.capture.records import (
    CheckRecord,
    Dump,
    MemoryContents,
    MemoryDescriptor,
    PreflightRecord,
    RegionRecord,
    SetRecord,
)
from cr3scope.model import facts
from cr3scope.paging.walk import PageFault, Translation, access
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.access import AccessKind

Break = Callable[[Scene], None]


def nx_in_every_pml4_entry(scene: Scene) -> None:
    for index in range(512):
        phys = b.ROOT + 8 * index
        if scene.tables.get(phys):
            scene.tables.put(phys, scene.tables.get(phys) | b.NX)


def two_segments_gone(scene: Scene) -> None:
    scene.unmap(b.KERNEL, 3 * b.PAGE)


def entry_at_zero(scene: Scene) -> None:
    scene.boot.elfs[0] = replace(scene.boot.elfs[0], entry=0)
    scene.boot.plan[2] = replace(scene.boot.plan[2], virt=0, rip=0)


def entry_in_data(scene: Scene) -> None:
    data = b.KERNEL + 0x20000
    scene.boot.elfs[0] = replace(scene.boot.elfs[0], entry=data)
    scene.boot.plan[2] = replace(scene.boot.plan[2], virt=data, rip=data)


def entry_bytes_zero(scene: Scene) -> None:
    scene.boot.memories["entry", "handoff"] = MemoryContents(
        0, "entry", "handoff", b.ENTRY, bytes(64)
    )


def framebuffer_too_short(scene: Scene) -> None:
    scene.tables.put(scene.tables.slot(b.FRAMEBUFFER, 2), 0)


def idt_and_code_missing(scene: Scene) -> None:
    scene.unmap(b.IDT)
    scene.unmap(b.KERNEL)


def after_dump_differs(scene: Scene) -> None:
    pages = {phys: page.copy() for phys, page in scene.tables.pages.items()}
    pages[b.ROOT][511] ^= np.uint64(0x800)
    scene.boot.dumps["after"] = Dump(0, "after", b.ROOT, 4, pages, frozenset())


def guard_mapped(scene: Scene) -> None:
    scene.tables.map(b.STACK_GUARD, b.STACK_PHYS - b.PAGE, b.PAGE, "rw-")


def recursive_slot_elsewhere(scene: Scene) -> None:
    scene.tables.put(b.ROOT + 8 * 510, 0)
    scene.tables.put(b.ROOT + 8 * 509, b.ROOT | b.P | b.W | b.NX)


def frame_not_aligned(scene: Scene) -> None:
    scene.tables.edit(b.FRAMEBUFFER, 2, set_bits=0x2000)


def reclaimed_tables(scene: Scene) -> None:
    scene.boot.memory_map = [MemoryDescriptor(0, 0x0FFF_FFFF, 4, 0xF)]


def preflight_sees_a_fault(scene: Scene) -> None:
    scene.boot.preflight = [PreflightRecord(0, 2, False, 14, 0x10, b.ENTRY)]


FAULTS: list[tuple[str, Break]] = [
    ("nx-upper-level", nx_in_every_pml4_entry),
    ("nx-upper-level", lambda s: s.tables.edit(b.ENTRY, 4, set_bits=b.NX) and None),
    ("nx-upper-level", lambda s: s.tables.edit(b.HANDOFF, 3, set_bits=b.NX) and None),
    ("nx-upper-level", lambda s: s.tables.edit(b.HANDOFF, 2, set_bits=b.NX) and None),
    ("nx-leaf-code", lambda s: s.tables.edit(b.ENTRY, 1, set_bits=b.NX) and None),
    ("nx-leaf-code", lambda s: s.tables.edit(b.KERNEL + 2 * b.PAGE, 1, set_bits=b.NX) and None),
    ("code-unmapped", two_segments_gone),
    ("code-unmapped", lambda s: s.unmap(b.KERNEL + 0x21000)),
    ("identity-missing-trampoline", lambda s: s.unmap(b.HANDOFF & ~0xFFF)),
    ("identity-missing-trampoline", lambda s: s.forget("loader.text")),
    ("stack-unmapped", lambda s: s.forget("stack0")),
    ("stack-unmapped", lambda s: s.unmap(b.STACK_TOP - b.PAGE)),
    ("stack-readonly", lambda s: s.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W) and None),
    ("upper-level-readonly", lambda s: s.tables.edit(b.STACK_TOP - 8, 4, clear_bits=b.W) and None),
    ("upper-level-readonly", lambda s: s.tables.edit(b.STACK_TOP - 8, 2, clear_bits=b.W) and None),
    ("idt-unmapped", lambda s: s.unmap(b.IDT)),
    ("gdt-unmapped", lambda s: s.unmap(b.GDT)),
    ("handler-unmapped", lambda s: s.unmap(b.HANDLERS)),
    ("boot-info-unmapped", lambda s: s.unmap(b.INFO)),
    ("framebuffer-unmapped", framebuffer_too_short),
    ("guard-missing", guard_mapped),
    ("recursive-slot", recursive_slot_elsewhere),
    ("tables-reclaimed", reclaimed_tables),
    ("reserved-bits", frame_not_aligned),
    ("reserved-bits", lambda s: s.tables.edit(b.ENTRY, 1, set_bits=1 << 45) and None),
    ("wrong-entry", entry_at_zero),
    ("wrong-entry", entry_bytes_zero),
    ("wrong-entry", entry_in_data),
    ("tables-changed", after_dump_differs),
    ("preflight-disagrees", preflight_sees_a_fault),
]


def findings(scene: Scene) -> tuple[Finding, ...]:
    return analyze(scene.capture()).findings


@pytest.mark.parametrize(("rule", "damage"), FAULTS)
def test_the_first_finding_is_the_rule_of_the_fault(rule: str, damage: Break) -> None:
    scene = healthy()
    damage(scene)
    assert findings(scene)[0].rule == rule


@pytest.mark.parametrize("levels", [4, 5])
def test_no_rule_fires_on_a_healthy_boot(levels: int) -> None:
    assert findings(healthy(levels)) == ()


@pytest.mark.parametrize(("rule", "damage"), FAULTS)
def test_no_entry_is_named_twice_by_one_rule(rule: str, damage: Break) -> None:
    scene = healthy()
    damage(scene)
    named = [(f.rule, f.entry) for f in findings(scene) if f.entry]
    assert len(named) == len(set(named))


@pytest.mark.slow
def test_every_fault_of_the_plan_has_a_finding() -> None:
    """Whatever single bit flips in an entry that the plan uses, a predicted fault is explained."""
    used = (b.HANDOFF, b.STACK_TOP - 8, b.ENTRY, b.INFO, b.FRAMEBUFFER)
    entries = [(virt, level) for virt in used for level in range(4, 1 if virt == b.FRAMEBUFFER else 0, -1)]
    untold = []
    # Of a number that is prime to 64: each bit is flipped in some of the entries.
    for (virt, level), bit in sample(list(product(entries, range(64))), 5):
        scene = healthy()
        phys = scene.tables.slot(virt, level)
        scene.tables.put(phys, scene.tables.get(phys) ^ 1 << bit)
        verdict = analyze(scene.capture())
        assert verdict.prediction is not None
        struck = [f for f in verdict.findings if f.severity is Severity.ERROR]
        if not verdict.prediction.survives and (not struck or struck[0].step is None):
            untold.append((hex(virt), level, bit))
    assert untold == []


def test_nx_in_every_entry_is_one_finding_that_lists_all_guilty_entries() -> None:
    scene = healthy()
    nx_in_every_pml4_entry(scene)
    found = [f for f in findings(scene) if f.rule == "nx-upper-level"]
    assert len(found) == 1
    (finding,) = found
    assert finding.entry is not None
    assert (finding.entry.level, finding.entry.index, finding.entry.phys) == (4, 0, b.ROOT)
    assert finding.range == (0, (1 << 39) - 1)
    assert "loader.text" in detail(finding)
    assert "PML4[511]" in detail(finding) and "kernel.text" in detail(finding)
    assert "stack0" not in detail(finding) and "loader.data" not in detail(finding)


def test_a_finding_about_a_leaf_names_only_the_page_that_it_kills() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    finding = findings(scene)[0]
    assert finding.range == (b.KERNEL, b.KERNEL + b.PAGE - 1)
    assert finding.entry is not None and finding.entry.level == 1


def test_a_missing_idt_and_a_missing_page_are_both_named_in_the_order_of_cause() -> None:
    scene = healthy()
    idt_and_code_missing(scene)
    rules = [f.rule for f in findings(scene) if f.severity is Severity.ERROR]
    assert rules == ["code-unmapped", "idt-unmapped"]


def test_the_firmware_s_idt_left_behind_is_a_note_while_nothing_faults() -> None:
    scene = healthy()
    del scene.boot.memories["idt", "handoff"]
    scene.boot.regions = [r for r in scene.boot.regions if r.role != "idt"]
    scene.cpu(idt_base=0x0FE0_0018)
    (finding,) = findings(scene)
    assert (finding.rule, finding.severity) == ("idt-unmapped", Severity.NOTE)
    assert analyze(scene.capture()).exit_status == 0


def test_a_guard_page_is_a_warning_that_does_not_condemn_the_boot() -> None:
    scene = healthy()
    guard_mapped(scene)
    verdict = analyze(scene.capture())
    assert verdict.findings[0].severity is Severity.WARNING
    assert verdict.exit_status == 0


@pytest.mark.parametrize("first", [0xFFFF_A000_0000_0000, 0x8000_0000_0000], ids=["absent", "not canonical"])
def test_a_guard_of_any_size_is_judged_at_once(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = healthy()
    scene.boot.regions.append(RegionRecord(0, "a guard", "guard", first, first + (1 << 46) - 1, None))
    walks = 0

    def counted(*what: Any, **how: Any) -> Translation | PageFault:
        nonlocal walks
        walks += 1
        assert walks < 10_000, "a trace can claim any number of pages"
        return access(*what, **how)

    monkeypatch.setattr(facts, "access", counted)
    assert [finding.rule for finding in findings(scene)] == []


def test_accessed_and_dirty_bits_are_no_change_of_the_tables() -> None:
    scene = healthy()
    pages = {phys: page | b.A | b.D for phys, page in scene.tables.pages.items()}
    scene.boot.dumps["after"] = Dump(0, "after", b.ROOT, 4, pages, frozenset())
    assert findings(scene) == ()


def test_a_range_that_a_later_call_mapped_otherwise_is_judged_by_the_later_call() -> None:
    scene = healthy()
    scene.map("loader.all", "identity", b.LOADER + 0x9000, b.LOADER + 0x9000, 0x2000, "r--")
    assert findings(scene) == ()


def test_one_misaligned_leaf_among_many_large_ones_is_found() -> None:
    scene = healthy()
    scene.map("identity", "identity", 1 << 39, 0, 4 << 30, "rw-", 3)
    scene.tables.edit((1 << 39) + (3 << 30), 3, set_bits=1 << 13)
    found = [f for f in findings(scene) if f.rule == "reserved-bits"]
    assert [f.entry.index for f in found if f.entry] == [3]


def test_a_frame_buffer_that_was_only_named_is_mended_writable_and_strikes_once() -> None:
    scene = healthy()
    scene.boot.plan.append(replace(scene.boot.plan[4], step=5, kind=AccessKind.WRITE))
    scene.boot.plan[4] = replace(scene.boot.plan[4], kind=AccessKind.READ)
    record = next(m for m in scene.boot.maps if m.role == "framebuffer")
    scene.boot.maps.remove(record)
    scene.boot.regions.append(
        RegionRecord(0, "frame buffer", "framebuffer", record.virt, record.last, record.phys)
    )
    framebuffer_too_short(scene)
    assert [f.rule for f in findings(scene)] == ["framebuffer-unmapped"]


def test_a_table_at_the_wrong_level_is_one_finding_that_blames_the_entry_that_leads_there() -> None:
    scene = healthy()
    table = scene.tables.get(scene.tables.slot(b.KERNEL, 2))
    slot = scene.tables.slot(b.KERNEL, 3)
    scene.tables.put(slot, table)
    found = [f for f in findings(scene) if f.rule == "table-shared"]
    assert [f.entry.phys for f in found if f.entry] == [slot]
    assert "set R/W" not in fix(found[0]) and "map 0x" not in fix(found[0])


def test_a_guard_page_that_a_range_includes_is_absent_on_purpose() -> None:
    scene = healthy()
    stack = next(m for m in scene.boot.maps if m.role == "stack")
    scene.boot.maps.remove(stack)
    scene.boot.maps.append(replace(stack, virt=b.STACK_GUARD, phys=b.STACK_PHYS - b.PAGE))
    assert findings(scene) == ()


def test_what_an_exception_already_met_is_not_told_again_as_a_range() -> None:
    scene = healthy()
    scene.unmap(b.HANDLERS)
    assert [f.rule for f in findings(scene)] == ["handler-unmapped"]


def test_a_recursive_slot_that_was_overwritten_is_known_by_its_first_write() -> None:
    scene = healthy()
    scene.boot.regions = [r for r in scene.boot.regions if r.role != "recursive"]
    entry = b.ROOT + 8 * 510
    scene.boot.sets.append(SetRecord(0, entry, 4, 510, 0, b.ROOT | b.P | b.W, 0x111))
    assert findings(scene) == ()
    scene.tables.put(entry, b.ROOT + b.PAGE | b.P | b.W)
    assert [f.rule for f in findings(scene)] == ["recursive-slot"]


def test_a_loader_without_a_recursive_slot_is_as_good() -> None:
    scene = healthy()
    scene.boot.regions = [r for r in scene.boot.regions if r.role != "recursive"]
    scene.tables.put(b.ROOT + 8 * 510, 0)
    assert findings(scene) == ()


def test_a_failed_check_of_the_kernel_is_an_error_in_its_own_words() -> None:
    scene = healthy()
    scene.boot.checks = [CheckRecord(0, "bss is zero", False, "byte 5 is 7f")]
    scene.boot.summary = (10, 1)
    verdict = analyze(scene.capture())
    assert [f.rule for f in verdict.findings] == ["kernel-check-failed"]
    assert "bss is zero" in title(verdict.findings[0])
    assert detail(verdict.findings[0]) == "byte 5 is 7f"
    assert verdict.exit_status == 1


def test_a_loader_that_refused_says_why() -> None:
    scene = healthy()
    scene.boot.errors = [("initrd", "kernel.elf is not in it", 14)]
    scene.boot.complete = False
    verdict = analyze(scene.capture())
    assert verdict.findings[0].rule == "loader-refused"
    assert title(verdict.findings[0]) == "initrd: kernel.elf is not in it"


def test_preflight_that_agrees_is_silent() -> None:
    scene = healthy()
    scene.unmap(b.KERNEL)
    scene.boot.preflight = [
        PreflightRecord(0, 0, True),
        PreflightRecord(0, 2, False, 14, 0x10, b.ENTRY),
    ]
    assert "preflight-disagrees" not in [f.rule for f in findings(scene)]


def test_ids_are_unique_and_every_rule_explains_itself() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert all((rule.title, rule.reason, rule.shows, rule.fix, rule.manual)), rule.id
