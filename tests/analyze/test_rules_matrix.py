"""The same dump on other CPUs: what they refuse is found, and told where it is no false alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import boot_builder as b
import pytest
from analyze.said import detail, title
from boot_builder import Scene, healthy

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import MapRecord, MemoryDescriptor, PlanStep, RegionRecord
from cr3scope.model import matrix
from cr3scope.model.intent import Intent
from cr3scope.model.matrix import VARIANTS, Refusal, Variant, judge, probes
from cr3scope.paging.walk import Reason
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR0_WP, EFER_NXE, CpuState

Break = Callable[[Scene], None]

HIGH_BAR = 1 << 38
IDENTITY_1G = 0x4000_0000


def nothing(_scene: Scene) -> None:
    """The boot stays healthy."""


def refusals(scene: Scene, *variants: Variant) -> list[Refusal]:
    boot = scene.capture().boots[0]
    tables, cpu = DumpTables(boot.dumps["new"]), cpu_state(boot.cpus["handoff"])
    return list(judge(tables, cpu, tuple(probes(tables, cpu, boot.plan, Intent(boot))), variants or VARIANTS))


def other_cpus(scene: Scene) -> list[Finding]:
    return [f for f in analyze(scene.capture()).findings if f.rule == "other-cpus"]


def max_phys(bits: int) -> Variant:
    return next(v for v in matrix.FEWER_PHYS_BITS if v.label.endswith(f" {bits}"))


def on_cpu(scene: Scene, max_phys_bits: int) -> None:
    record = scene.boot.cpus["handoff"]
    scene.boot.cpus["handoff"] = replace(record, max_phys_bits=max_phys_bits)


def stray_frame_bit(scene: Scene) -> None:
    scene.tables.edit(b.ENTRY, 1, set_bits=HIGH_BAR)


def write_protect_off(scene: Scene) -> None:
    """The loader has cleared CR0.WP, and forgot R/W in the leaf of the stack."""
    scene.cpu(cr0=0x8001_0033 & ~CR0_WP)
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)


def gigapage(scene: Scene) -> None:
    """One more range, mapped by a 1 GiB leaf, which the plan reads."""
    scene.map("identity", "identity", IDENTITY_1G, IDENTITY_1G, 1 << 30, "rw-", level=3)
    scene.boot.plan.append(PlanStep(0, 5, "high RAM", AccessKind.READ, IDENTITY_1G, 8, b.ENTRY))


def second_stack(scene: Scene) -> None:
    scene.map("stack1", "stack", b.STACK_GUARD + 0x10000, b.STACK_PHYS + 0x10000, b.PAGE, "rw-")


def framebuffer_in_a_high_bar(scene: Scene) -> None:
    """On a CPU that has the address bits for it, as asked for and mapped."""
    index = next(i for i, m in enumerate(scene.boot.maps) if m.role == "framebuffer")
    scene.boot.maps[index] = replace(scene.boot.maps[index], phys=HIGH_BAR)
    scene.tables.put(scene.tables.slot(b.FRAMEBUFFER, 2), HIGH_BAR | b.P | b.W | b.PS | b.NX)


def user_everywhere(scene: Scene) -> None:
    for page in scene.tables.pages.values():
        page[page != 0] |= b.U


def global_in_the_top_table(scene: Scene) -> None:
    scene.tables.edit(b.ENTRY, 4, set_bits=b.G)


@pytest.mark.parametrize(
    ("variant", "damage", "step", "error"),
    [
        (max_phys(36), stray_frame_bit, 2, 0x19),
        (matrix.WRITE_PROTECT, write_protect_off, 1, 0x3),
        (matrix.NO_GIGAPAGES, gigapage, 5, 0x9),
        (matrix.AMD, global_in_the_top_table, 2, 0x19),
        (matrix.SMEP_SMAP, user_everywhere, 0, 0x11),
        (matrix.NXE_CLEAR, nothing, 1, 0xB),
        (matrix.LA57_ON, nothing, 0, 0x10),
    ],
    ids=lambda value: value.label if isinstance(value, Variant) else None,
)
def test_each_variant_refuses_what_it_must_at_its_step(
    variant: Variant, damage: Break, step: int, error: int
) -> None:
    scene = healthy()
    damage(scene)
    first = refusals(scene, variant)[0]
    assert first.step is not None
    assert (first.step.step, first.fault.error_code) == (step, error)


def test_smap_refuses_the_data_as_smep_refuses_the_code() -> None:
    scene = healthy()
    user_everywhere(scene)
    reasons = {refusal.fault.reason for refusal in refusals(scene, matrix.SMEP_SMAP)}
    assert reasons == {Reason.SMEP, Reason.SMAP}


def test_five_level_tables_die_on_a_cpu_that_walks_four() -> None:
    first = refusals(healthy(levels=5), matrix.LA57_OFF)[0]
    assert first.step is not None and first.step.step == 0


@pytest.mark.parametrize("levels", [4, 5])
def test_a_healthy_boot_is_refused_only_without_nxe_and_by_another_depth(levels: int) -> None:
    depth = matrix.LA57_ON if levels == 4 else matrix.LA57_OFF
    assert {r.variant for r in refusals(healthy(levels))} == {matrix.NXE_CLEAR, depth}


LAXER: dict[str, Callable[[CpuState], CpuState]] = {
    "WP=0": lambda cpu: replace(cpu, cr0=cpu.cr0 & ~CR0_WP),
    "NXE=1": lambda cpu: replace(cpu, efer=cpu.efer | EFER_NXE),
    "Intel": lambda cpu: replace(cpu, is_amd=False),
    "MAXPHYADDR 52": lambda cpu: replace(cpu, max_phys_bits=52),
    "1 GiB pages": lambda cpu: replace(cpu, has_1g_pages=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAXER)
@pytest.mark.parametrize("bit", [1, 2, 7, 8, 13, 38, 45, 63])
def test_the_states_that_are_no_variants_refuse_nothing_more(name: str, bit: int) -> None:
    for level in (4, 3, 2, 1):
        for virt in (b.HANDOFF, b.STACK_TOP - 8, b.ENTRY):
            scene = healthy()
            phys = scene.tables.slot(virt, level)
            scene.tables.put(phys, scene.tables.get(phys) ^ 1 << bit)
            record = scene.boot.cpus["handoff"]
            no_nxe = record.registers | {"efer": 0x500} if name == "NXE=1" else record.registers
            scene.boot.cpus["handoff"] = replace(
                record, vendor="AuthenticAMD", features=frozenset({"nx"}), registers=no_nxe
            )
            assert refusals(scene, Variant(name, LAXER[name])) == []


def test_a_stray_frame_bit_is_a_warning_that_names_cpus_entry_and_step() -> None:
    scene = healthy()
    stray_frame_bit(scene)
    (finding,) = other_cpus(scene)
    assert finding.severity is Severity.WARNING
    assert "the switch would die" in title(finding) and "MAXPHYADDR 36" in title(finding)
    assert "MAXPHYADDR 39" not in title(finding) and "MAXPHYADDR 40" not in title(finding)
    assert finding.entry is not None and finding.entry.phys == scene.tables.slot(b.ENTRY, 1)
    assert "step 2 (fetch at kernel entry)" in detail(finding) and "error 0019" in detail(finding)


def test_a_bit_that_no_small_cpu_has_names_every_one_of_them() -> None:
    scene = healthy()
    on_cpu(scene, 52)
    scene.tables.edit(b.ENTRY, 1, set_bits=1 << 47)
    (finding,) = other_cpus(scene)
    assert all(f"MAXPHYADDR {bits}" in title(finding) for bits in (36, 39, 40, 46))


def test_a_page_that_no_step_touches_is_judged_as_a_range() -> None:
    scene = healthy()
    scene.tables.edit(b.KERNEL + 0x21000, 1, set_bits=HIGH_BAR)
    (finding,) = other_cpus(scene)
    assert title(finding).startswith("kernel.data (data) would fault on a CPU with MAXPHYADDR 36")
    assert finding.range == (b.KERNEL + 0x21000, b.KERNEL + 0x21FFF)


def test_a_stray_bit_behind_an_asked_frame_that_looks_alike_is_not_hidden() -> None:
    scene = healthy()
    scene.map("device", "device", b.INFO + 0x10000, HIGH_BAR, b.PAGE, "rw-")
    scene.boot.maps.insert(0, scene.boot.maps.pop())
    scene.tables.edit(b.KERNEL + 0x21000, 1, set_bits=HIGH_BAR)
    (finding,) = other_cpus(scene)
    assert finding.entry is not None
    assert finding.entry.phys == scene.tables.slot(b.KERNEL + 0x21000, 1)


def test_a_range_is_judged_to_its_end_over_all_of_its_tables() -> None:
    scene = healthy()
    heap, size = b.INFO + (1 << 30), 600 * b.PAGE
    scene.map("heap", "data", heap, 0x0400_0000, size, "rw-")
    assert other_cpus(scene) == []
    scene.tables.edit(heap + size - b.PAGE, 1, set_bits=HIGH_BAR)
    (finding,) = other_cpus(scene)
    assert finding.range == (heap + size - b.PAGE, heap + size - 1)


def test_a_pending_interrupt_is_no_access_of_its_step() -> None:
    scene = healthy()
    stray_frame_bit(scene)
    scene.boot.plan[2] = replace(scene.boot.plan[2], vector=0x20)
    assert refusals(scene, max_phys(36))[0].step is None


def test_the_recursive_window_is_no_range_with_rights_of_its_own() -> None:
    scene = healthy()
    scene.cpu(cr0=0x8001_0033 & ~CR0_WP)
    last = b.RECURSIVE + (1 << 39) - 1
    window = MapRecord(
        0, "window", "recursive", b.RECURSIVE, last, b.ROOT, "rw-", b.PAGE, "wb", 0x111
    )
    scene.boot.maps.append(window)
    scene.tables.put(b.ROOT + 8 * 510, b.ROOT | b.P | b.NX)
    assert refusals(scene, matrix.WRITE_PROTECT) == []


def test_a_device_that_is_really_so_high_is_no_alarm() -> None:
    scene = healthy()
    framebuffer_in_a_high_bar(scene)
    assert refusals(scene, max_phys(36))
    assert analyze(scene.capture()).findings == ()


def test_a_device_that_only_a_region_names_is_no_alarm() -> None:
    scene = healthy()
    framebuffer_in_a_high_bar(scene)
    mapped = next(m for m in scene.boot.maps if m.role == "framebuffer")
    scene.boot.maps.remove(mapped)
    region = RegionRecord(0, mapped.name, mapped.role, mapped.virt, mapped.last, mapped.phys)
    scene.boot.regions.append(region)
    assert refusals(scene, max_phys(36))
    assert other_cpus(scene) == []


def test_a_frame_that_was_asked_for_elsewhere_is_a_wrong_one_but_exists() -> None:
    scene = healthy()
    framebuffer_in_a_high_bar(scene)
    scene.tables.put(scene.tables.slot(b.ENTRY, 1), HIGH_BAR | b.P)
    assert refusals(scene, max_phys(36))
    assert other_cpus(scene) == []


def test_a_top_table_that_is_really_so_high_is_no_alarm() -> None:
    scene = healthy()
    scene.tables.pages[b.ROOT | HIGH_BAR] = scene.tables.pages[b.ROOT]
    scene.cpu(cr3=b.ROOT | HIGH_BAR)
    scene.tables.pages.pop(b.ROOT)
    first = refusals(scene, max_phys(36))[0]
    assert first.fault.reason is Reason.TABLE_UNREADABLE and not first.fault.guilty
    assert other_cpus(scene) == []


def test_memory_that_is_really_so_high_is_no_alarm() -> None:
    scene = healthy()
    stray_frame_bit(scene)
    memory = MemoryDescriptor(HIGH_BAR, HIGH_BAR + 0x0FFF_FFFF, 7, 0xF)
    scene.boot.memory_map.append(memory)
    assert other_cpus(scene) == []


def test_a_table_that_is_really_so_high_is_no_alarm() -> None:
    scene = healthy()
    pointer = scene.tables.edit(b.ENTRY, 2, set_bits=HIGH_BAR)
    table = scene.tables.get(pointer) & 0x000F_FFFF_FFFF_F000
    scene.tables.pages[table] = scene.tables.pages[table & ~HIGH_BAR]
    assert refusals(scene, max_phys(36))
    assert other_cpus(scene) == []


def test_a_frame_of_which_nobody_spoke_is_no_alarm() -> None:
    scene = healthy()
    stray_frame_bit(scene)
    scene.boot.maps = [m for m in scene.boot.maps if m.role != "text"]
    scene.boot.segments = []
    assert other_cpus(scene) == []


def test_a_write_that_only_wp_0_lets_pass_is_a_warning() -> None:
    scene = healthy()
    write_protect_off(scene)
    (finding,) = other_cpus(scene)
    assert finding.severity is Severity.WARNING
    assert "the switch would die on a CPU with CR0.WP=1" in title(finding)
    assert "step 1 (push of the return address)" in detail(finding) and "0003" in detail(finding)


def test_wp_0_with_rights_as_asked_is_no_alarm() -> None:
    scene = healthy()
    scene.cpu(cr0=0x8001_0033 & ~CR0_WP)
    assert other_cpus(scene) == []


def test_a_page_that_a_later_call_made_read_only_is_no_alarm() -> None:
    scene = healthy()
    scene.cpu(cr0=0x8001_0033 & ~CR0_WP)
    scene.map("sealed", "loader", b.LOADER + 0x9000, b.LOADER + 0x9000, b.PAGE, "r--")
    assert other_cpus(scene) == []


def test_a_gigapage_is_a_note_where_this_cpu_has_them() -> None:
    scene = healthy()
    gigapage(scene)
    (finding,) = other_cpus(scene)
    assert finding.severity is Severity.NOTE
    assert "the switch would die on a CPU without 1 GiB pages" in title(finding)
    assert finding.entry is not None and finding.entry.level == 3


def test_a_gigapage_on_a_cpu_without_them_is_left_to_its_own_rule() -> None:
    scene = healthy()
    gigapage(scene)
    scene.boot.cpus["handoff"] = replace(
        scene.boot.cpus["handoff"], features=frozenset({"nx", "pge", "pat"})
    )
    assert other_cpus(scene) == []
    assert analyze(scene.capture()).findings[0].rule == "gigapage-unsupported"


def test_nxe_is_a_note_for_the_other_cpus_and_only_if_there_are_any() -> None:
    scene = healthy()
    assert other_cpus(scene) == []
    second_stack(scene)
    verdict = analyze(scene.capture())
    (finding,) = verdict.findings
    assert (finding.rule, finding.severity) == ("other-cpus", Severity.NOTE)
    assert title(finding) == "an AP must set EFER.NXE before it loads this CR3"
    assert "step 1 (push of the return address)" in detail(finding)
    assert verdict.exit_status == 0


def test_an_entry_that_an_ap_and_another_cpu_refuse_is_told_once() -> None:
    scene = healthy()
    second_stack(scene)
    scene.tables.edit(b.STACK_TOP - 8, 1, set_bits=HIGH_BAR)
    (finding,) = other_cpus(scene)
    assert finding.severity is Severity.WARNING
    assert "MAXPHYADDR 36" in title(finding) and "AP" in title(finding)
    assert "an AP must set EFER.NXE before it loads this CR3" in detail(finding)


@pytest.mark.parametrize("name", ["stack0", "stack1 and more", "stack for #DF", "ist 1"])
def test_another_stack_of_the_same_cpu_needs_no_note(name: str) -> None:
    scene = healthy()
    second_stack(scene)
    scene.boot.maps[-1] = replace(scene.boot.maps[-1], name=name)
    assert other_cpus(scene) == []


def test_more_cpus_without_a_single_nx_entry_need_no_note() -> None:
    scene = healthy()
    second_stack(scene)
    for page in scene.tables.pages.values():
        page &= (1 << 63) - 1
    assert other_cpus(scene) == []


@pytest.mark.parametrize("damage", [user_everywhere, global_in_the_top_table])
def test_what_another_rule_tells_is_not_told_twice(damage: Break) -> None:
    scene = healthy()
    damage(scene)
    assert other_cpus(scene) == []


def test_an_access_that_this_cpu_refuses_is_left_to_the_plan() -> None:
    scene = healthy()
    on_cpu(scene, 36)
    stray_frame_bit(scene)
    assert other_cpus(scene) == []
    assert analyze(scene.capture()).findings[0].rule == "reserved-bits"


def test_a_trace_without_a_cpu_is_silent() -> None:
    scene = healthy()
    stray_frame_bit(scene)
    del scene.boot.cpus["handoff"]
    assert other_cpus(scene) == []
