"""Rules that tables and control registers prove alone: each on its own fault, else silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import boot_builder as b
import numpy as np
import pytest
from analyze.said import detail, title
from boot_builder import Scene, healthy
from table_damage import (
    FREE,
    GARBAGE,
    PCIDE,
    SMAP,
    SMEP,
    TABLES_VIRT,
    cpuid,
    cr3,
    cr4,
    garbage,
    gigabyte_pages,
    loader_at,
    other_depth,
    pcide_too_early,
    table_below_two_entries,
    table_one_level_too_high,
    user,
    user_range_under_supervisor,
    virtual_address,
    without_nx,
    without_nxe,
)

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.input.capture.records import (
    Dump,
    MemoryContents,
    RegionRecord,
    SetRecord,
)
from cr3scope.input.logs.log_report import LogReport
from cr3scope.verdict.analysis import analyze

Break = Callable[[Scene], object]

RULES = frozenset({
    "nx-without-nxe", "virt-address-in-entry", "gigapage-unsupported", "global-nonleaf",
    "tables-not-zeroed", "table-shared", "cr3-flags", "cr3-high-bits", "pcide-order",
    "la57-mismatch", "smep-smap-user-bit", "upper-level-supervisor", "image-above-4g",
})  # fmt: skip


def findings(scene: Scene, on_tcg: bool = False) -> tuple[Finding, ...]:
    return analyze(scene.capture(), LogReport() if on_tcg else None).findings


def told(scene: Scene, on_tcg: bool = False) -> list[str]:
    """Ids of the rules of this file that say something."""
    return [f.rule for f in findings(scene, on_tcg) if f.rule in RULES]


FAULTS: list[tuple[str, Break]] = [
    ("nx-without-nxe", without_nxe),
    ("virt-address-in-entry", virtual_address),
    ("virt-address-in-entry", lambda s: virtual_address(s, b.STACK_TOP - 8, 3)),
    ("virt-address-in-entry", lambda s: virtual_address(s, b.HANDOFF, 4)),
    ("virt-address-in-entry", lambda s: (virtual_address(s), s.boot.regions.pop())),
    ("tables-not-zeroed", garbage),
    ("tables-not-zeroed", lambda s: garbage(s, 0x0123_4000 | b.P | b.W, 1)),
    ("table-shared", table_one_level_too_high),
    ("table-shared", table_below_two_entries),
    ("cr3-high-bits", lambda s: cr3(s, 1 << 40)),
    ("cr3-high-bits", lambda s: cr3(s, 1 << 63)),
    ("pcide-order", pcide_too_early),
    ("la57-mismatch", other_depth),
    ("smep-smap-user-bit", lambda s: (user(s, b.ENTRY), cr4(s, SMEP))),
    ("smep-smap-user-bit", lambda s: (user(s, b.INFO), cr4(s, SMAP))),
    ("image-above-4g", lambda s: loader_at(s, 0x1_4000_0000)),
]

WARNINGS: list[tuple[str, Break]] = [
    ("cr3-flags", lambda s: cr3(s, 0x18)),
    ("cr3-flags", lambda s: cr3(s, 0x1)),
    ("global-nonleaf", lambda s: s.tables.edit(b.ENTRY, 4, set_bits=b.G)),
    ("smep-smap-user-bit", lambda s: user(s, b.ENTRY)),
    ("smep-smap-user-bit", lambda s: user(s, b.INFO)),
    ("upper-level-supervisor", user_range_under_supervisor),
]


@pytest.mark.parametrize(("rule", "damage"), FAULTS)
def test_the_first_finding_is_the_rule_of_the_fault(rule: str, damage: Break) -> None:
    scene = healthy()
    damage(scene)
    first = findings(scene)[0]
    assert (first.rule, first.severity) == (rule, Severity.ERROR)


@pytest.mark.parametrize(("rule", "damage"), WARNINGS)
def test_what_bites_elsewhere_is_a_warning(rule: str, damage: Break) -> None:
    scene = healthy()
    damage(scene)
    first = findings(scene)[0]
    assert (first.rule, first.severity) == (rule, Severity.WARNING)
    assert analyze(scene.capture()).exit_status == 0


@pytest.mark.parametrize(("rule", "damage"), [*FAULTS, *WARNINGS])
def test_a_cause_is_told_by_one_of_these_rules_alone(rule: str, damage: Break) -> None:
    scene = healthy()
    damage(scene)
    assert set(told(scene)) == {rule}


@pytest.mark.parametrize("on_tcg", [False, True])
@pytest.mark.parametrize("levels", [4, 5])
def test_a_healthy_boot_is_told_nothing(levels: int, on_tcg: bool) -> None:
    assert told(healthy(levels), on_tcg) == []


def test_nx_without_nxe_leaves_entries_without_nx_alone() -> None:
    scene = healthy()
    without_nxe(scene)
    without_nx(scene)
    assert told(scene) == []


def test_nx_without_nxe_leaves_other_reserved_bits_to_their_rule() -> None:
    scene = healthy()
    without_nxe(scene)
    scene.tables.edit(b.STACK_TOP - 8, 1, set_bits=1 << 45)
    assert findings(scene)[0].rule == "reserved-bits"


def test_nx_without_nxe_in_an_entry_that_nobody_needs_is_a_warning() -> None:
    scene = healthy()
    without_nxe(scene)
    without_nx(scene)
    entry = scene.tables.edit(FREE, 1, set_bits=b.P | b.NX | b.KERNEL_PHYS)
    found = [f for f in findings(scene) if f.rule == "nx-without-nxe"]
    assert [f.severity for f in found] == [Severity.WARNING]
    assert found[0].entry is not None and found[0].entry.phys == entry
    assert found[0].range == (FREE, FREE + b.PAGE - 1)


def test_a_virtual_address_is_told_with_the_physical_one_of_the_table() -> None:
    scene = healthy()
    table = virtual_address(scene)
    finding = findings(scene)[0]
    assert f"{TABLES_VIRT + table - b.ROOT:#x}" in title(finding)
    assert f"{table:#x}" in title(finding)
    assert finding.entry is not None and finding.entry.level == 2


def test_a_virtual_address_of_a_pool_in_the_lower_half_is_known_by_the_trace() -> None:
    scene = healthy()
    pool = 0x7000_0000
    scene.boot.regions.append(
        RegionRecord(0, "page tables", "tables", pool, pool + 0xFFFFF, b.ROOT)
    )
    phys = scene.tables.slot(b.ENTRY, 2)
    scene.tables.put(phys, scene.tables.get(phys) - b.ROOT + pool)
    assert findings(scene)[0].rule == "virt-address-in-entry"


def test_one_high_bit_is_no_virtual_address() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 2, set_bits=1 << 51)
    assert findings(scene)[0].rule == "reserved-bits"


def test_gigabyte_pages_strike_on_hardware_without_them() -> None:
    scene = healthy()
    gigabyte_pages(scene)
    loader_at(scene, (4 << 30) + 0x1000)
    scene.tables.edit(4 << 30, 3, clear_bits=b.NX)
    cpuid(scene, without="1g")
    first = findings(scene)[0]
    assert (first.rule, first.severity) == ("gigapage-unsupported", Severity.ERROR)
    assert {f.severity for f in findings(scene) if f.rule == first.rule} == {Severity.ERROR}
    assert {f.severity for f in findings(scene, on_tcg=True) if f.rule == first.rule} == {
        Severity.WARNING
    }


def test_gigabyte_pages_are_a_warning_on_tcg_with_their_number() -> None:
    scene = healthy()
    gigabyte_pages(scene)
    cpuid(scene, without="1g")
    (finding,) = findings(scene, on_tcg=True)
    assert (finding.rule, finding.severity) == ("gigapage-unsupported", Severity.WARNING)
    assert title(finding).startswith("2 entries") and "real hardware" in title(finding)
    assert finding.entry is not None
    assert (finding.entry.level, finding.entry.index) == (3, 4)
    assert {f.severity for f in findings(scene)} == {Severity.ERROR}


@pytest.mark.parametrize("on_tcg", [False, True])
def test_gigabyte_pages_on_a_cpu_that_has_them_are_well(on_tcg: bool) -> None:
    scene = healthy()
    gigabyte_pages(scene)
    assert told(scene, on_tcg) == []


def test_a_misaligned_gigabyte_page_is_a_matter_of_reserved_bits() -> None:
    scene = healthy()
    gigabyte_pages(scene)
    cpuid(scene, without="1g")
    scene.tables.edit(4 << 30, 3, set_bits=1 << 21)
    assert "reserved-bits" in [f.rule for f in findings(scene)]


def test_global_in_a_pml4_entry_strikes_on_amd_hardware() -> None:
    scene = healthy()
    cpuid(scene, vendor="AuthenticAMD")
    scene.tables.edit(b.ENTRY, 4, set_bits=b.G)
    first = findings(scene)[0]
    assert (first.rule, first.severity) == ("global-nonleaf", Severity.ERROR)
    assert told(scene) == ["global-nonleaf"]
    assert findings(scene, on_tcg=True)[0].severity is Severity.WARNING


def test_global_in_an_entry_that_nobody_needs_is_a_warning_on_amd_too() -> None:
    scene = healthy()
    cpuid(scene, vendor="AuthenticAMD")
    scene.tables.edit(1 << 40, 4, set_bits=scene.tables.get(b.ROOT) | b.G)
    found = [f for f in findings(scene) if f.rule == "global-nonleaf"]
    assert [(f.severity, f.entry and f.entry.index) for f in found] == [(Severity.WARNING, 2)]


@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel"])
def test_global_in_a_leaf_or_a_lower_table_entry_is_no_fault(vendor: str) -> None:
    scene = healthy()
    cpuid(scene, vendor=vendor)
    for level in (3, 2, 1):
        scene.tables.edit(b.ENTRY, level, set_bits=b.G)
    assert told(scene) == []


def test_garbage_names_its_first_entry_and_counts_the_rest() -> None:
    scene = healthy()
    garbage(scene)
    finding = findings(scene)[0]
    assert finding.entry is not None
    assert (finding.entry.level, finding.entry.value) == (2, GARBAGE)
    assert "7 more" in detail(finding)
    assert finding.range == (FREE, FREE + (2 << 20) - 1)


@pytest.mark.parametrize(("pages", "rules"), [(2, []), (3, ["tables-not-zeroed"])])
def test_a_run_of_leaves_to_one_frame_is_garbage(pages: int, rules: list[str]) -> None:
    scene = healthy()
    for index in range(pages):
        scene.tables.edit(b.INFO + (8 + index) * b.PAGE, 1, set_bits=0x0999_9000 | b.P | b.W)
    assert told(scene) == rules


def test_an_unasked_leaf_with_reserved_bits_is_garbage() -> None:
    scene = healthy()
    garbage(scene, 0x0020_2000 | b.PS | b.P | b.W, 1)
    assert told(scene) == ["tables-not-zeroed"]


def test_single_mappings_that_nobody_told_of_are_no_garbage() -> None:
    scene = healthy()
    scene.tables.map(b.INFO + 8 * b.PAGE, 0x0999_9000, 2 * b.PAGE, "rw-")
    assert told(scene) == []


def test_tables_taken_over_from_the_firmware_are_no_garbage() -> None:
    scene = healthy()
    firmware = {0x0080_0000: np.zeros(512, np.uint64), 0x0080_1000: np.zeros(512, np.uint64)}
    scene.boot.dumps["old"] = Dump(0, "old", 0x0080_0000, 4, firmware, frozenset())
    scene.tables.put(b.ROOT + 8 * 3, 0x0080_1000 | b.P | b.W)
    scene.tables.pages[0x0080_1000] = firmware[0x0080_1000]
    assert told(scene) == []


def test_garbage_is_not_looked_for_where_the_trace_names_no_tables() -> None:
    scene = healthy()
    garbage(scene)
    scene.tables.records = []
    assert told(scene) == []


def test_a_table_at_another_level_names_the_entry_that_leads_there() -> None:
    scene = healthy()
    table_one_level_too_high(scene)
    finding = findings(scene)[0]
    assert title(finding).startswith("PDPT[510] leads to 0x1006000 as a table of level 2")
    assert finding.step == 2


def test_a_table_at_another_level_is_told_of_even_where_nobody_goes_and_it_was_meant() -> None:
    scene = healthy()
    entry = scene.tables.slot(b.INFO, 3) + 8
    value = scene.tables.get(scene.tables.slot(b.INFO, 2))
    scene.tables.put(entry, value)
    scene.boot.sets.append(SetRecord(0, entry, 3, 1, 0, value, 0x111))
    found = [f for f in findings(scene) if f.rule == "table-shared"]
    assert [f.entry and f.entry.phys for f in found] == [entry]


def test_a_table_that_was_moved_is_not_shared() -> None:
    scene = healthy()
    entry = scene.tables.slot(b.INFO, 3)
    scene.tables.put(entry + 8, scene.tables.get(entry))
    scene.tables.put(entry, 0)
    assert "table-shared" not in told(scene)


def test_a_table_that_the_loader_shares_in_so_many_words_is_well() -> None:
    scene = healthy()
    table_below_two_entries(scene)
    entry = scene.tables.slot(b.INFO, 3)
    value = scene.tables.get(entry)
    scene.boot.sets.append(SetRecord(0, entry + 8, 3, 1, 0, value, 0x111))
    assert "table-shared" not in told(scene)


def test_a_strike_in_the_recursive_window_shares_no_table() -> None:
    scene = healthy()
    window = b.RECURSIVE | (b.RECURSIVE >> 9 & 0x7F_FFFF_F000)
    scene.boot.plan.append(replace(scene.boot.plan[-1], step=5, virt=window + 0x3000))
    assert "table-shared" not in told(scene)


@pytest.mark.parametrize(("new_cr3", "old_cr3", "old_cr4"), [
    (b.ROOT, 0x0080_0000, 0),
    (b.ROOT, 0x0080_0018, PCIDE),
    (b.ROOT | 0x01B, 0x0080_0000, 0),
    (b.ROOT | 1 << 63, 0x0080_0000, PCIDE),
])  # fmt: skip
def test_pcide_and_a_pcid_in_the_right_order_are_well(
    new_cr3: int, old_cr3: int, old_cr4: int
) -> None:
    scene = healthy()
    scene.cpu("entry", cr3=old_cr3, cr4=0x668 | old_cr4)
    scene.cpu(cr3=new_cr3, cr4=0x668 | PCIDE)
    assert told(scene) == []


def test_a_virtual_address_in_cr3_is_told_with_the_physical_one() -> None:
    scene = healthy()
    scene.map("page tables", "tables", TABLES_VIRT, b.ROOT, 0x10000, "r--")
    scene.cpu(cr3=TABLES_VIRT)
    found = next(f for f in findings(scene) if f.rule == "cr3-high-bits")
    assert f"physical {b.ROOT:#x}" in detail(found)


def test_a_refused_cr3_stands_before_everything_else() -> None:
    scene = healthy()
    cr3(scene, 1 << 45)
    scene.boot.memories["entry", "handoff"] = MemoryContents(
        0, "entry", "handoff", b.ENTRY, bytes(64)
    )
    pcide_too_early(scene)
    rules = [f.rule for f in findings(scene)]
    assert rules[:3] == ["pcide-order", "cr3-high-bits", "wrong-entry"]


@pytest.mark.parametrize("levels", [4, 5])
def test_tables_of_another_depth_are_one_cause(levels: int) -> None:
    scene = healthy(levels)
    other_depth(scene)
    first = findings(scene)[0]
    assert first.rule == "la57-mismatch" and first.step == 0
    assert f"the tables have {levels} levels, the CPU walks {9 - levels}" in title(first)
    assert set(told(scene)) == {"la57-mismatch"}


@pytest.mark.parametrize("levels", [4, 5])
def test_a_lower_table_in_cr3_is_still_a_bad_root(levels: int) -> None:
    scene = healthy(levels)
    scene.cpu(cr3=b.ROOT + b.PAGE)
    assert findings(scene)[0].rule == "bad-root"
    assert told(scene) == []


def test_smep_names_the_levels_that_all_have_u() -> None:
    scene = healthy()
    user(scene, b.ENTRY)
    cr4(scene, SMEP)
    finding = findings(scene)[0]
    assert "PML4[511], PDPT[510], PD[0], PT[0]" in detail(finding)
    assert finding.step == 2


@pytest.mark.parametrize("spared", [1, 2, 3, 4])
def test_one_level_without_u_is_enough(spared: int) -> None:
    scene = healthy()
    user(scene, b.ENTRY, tuple(level for level in (4, 3, 2, 1) if level != spared))
    cr4(scene, SMEP | SMAP)
    assert told(scene) == []


def test_pages_asked_for_user_mode_are_no_kernel_pages() -> None:
    scene = healthy()
    user_range_under_supervisor(scene)
    user(scene, b.INFO)
    assert told(scene) == []


def test_a_supervisor_leaf_is_no_matter_of_its_parents() -> None:
    scene = healthy()
    user_range_under_supervisor(scene)
    scene.tables.edit(b.INFO, 1, clear_bits=b.U)
    assert told(scene) == []


def test_a_supervisor_entry_above_a_user_leaf_is_named() -> None:
    scene = healthy()
    user_range_under_supervisor(scene)
    finding = findings(scene)[0]
    assert finding.entry is not None and finding.entry.level == 2
    assert title(finding).startswith("PD[0] has U clear")


def test_a_loader_below_4_gib_is_a_matter_of_the_trampoline() -> None:
    scene = healthy()
    loader_at(scene, 0xC000_0000)
    assert findings(scene)[0].rule == "identity-missing-trampoline"


def test_an_identity_map_that_goes_beyond_4_gib_has_another_hole() -> None:
    scene = healthy()
    scene.map("high memory", "identity", 6 << 30, 6 << 30, 2 << 20, "rw-", level=2)
    loader_at(scene, 0x1_4000_0000)
    assert findings(scene)[0].rule == "identity-missing-trampoline"


def test_without_any_identity_map_the_trampoline_is_what_is_missing() -> None:
    scene = healthy()
    loader_at(scene, 0x1_4000_0000)
    for name in ("loader.text", "loader.data"):
        scene.forget(name)
    assert findings(scene)[0].rule == "identity-missing-trampoline"
