"""What is wrong with the tables that a loader is about to load: a CPU stands there, and the boot info tells the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.arrays import integers
from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.facts.as_mapped import moved
from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule, SwitchState, able
from cr3scope.diagnose.rules.asked import double_map_wx, wrong_frame
from cr3scope.diagnose.rules.code import bss_not_zeroed, overlapping_image, paddr_misload, wrong_entry
from cr3scope.diagnose.rules.firmware import descriptor_stride
from cr3scope.diagnose.rules.stack import guard_missing
from cr3scope.diagnose.rules.switch import cr3_flags
from cr3scope.diagnose.rules.tables import gigapage_unsupported, global_nonleaf, recursive_slot, tables_reclaimed
from cr3scope.images.symbols import NoSymbols
from cr3scope.input.capture.records import Boot, CpuRecord, MemoryContents, TableRecord
from cr3scope.model import scan
from cr3scope.model.delivery import Delivery
from cr3scope.model.facts import Facts
from cr3scope.model.inferred import HANDOFF
from cr3scope.model.intent import Intent
from cr3scope.model.known import Known
from cr3scope.model.prediction import Prediction
from cr3scope.paging.reach import stages
from cr3scope.target.overlay import Overlay
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3, switch_at_pc
from cr3scope.x86.cpu_state import CpuState

# Those that judge by what the boot info tells. It does not tell of every mapping: what nobody asked for is no matter.
_CHECKS: tuple[Rule, ...] = (
    wrong_entry.RULE, paddr_misload.RULE, bss_not_zeroed.RULE, overlapping_image.RULE, wrong_frame.RULE,
    cr3_flags.RULE, gigapage_unsupported.RULE, global_nonleaf.RULE, recursive_slot.RULE,
    guard_missing.RULE, double_map_wx.RULE, tables_reclaimed.RULE, descriptor_stride.RULE,
)  # fmt: skip
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def findings(now: StoppedCpu, known: Known, has_gigapages: bool) -> tuple[Finding, ...]:
    """Return what is wrong, the worst first. ``now`` stands at a `mov cr3`; ``has_gigapages``: CPUID offers 1 GiB pages."""
    switch = switch_at_pc(now)
    assert switch is not None
    under = now.under(new_cr3(now))
    cpu = replace(under.cpu, has_1g_pages=has_gigapages)
    registers = replace(now.delivery_registers, rip=now.rip + switch.length)
    tables = Overlay(under, now.phys_bits)
    boot = _boot(now, under, cpu, known)
    intent = Intent(boot)
    strikes = [
        *scan.safety_net(Delivery(tables, cpu, under, now.platform), registers),
        *scan.ranges(tables, cpu, intent, now.platform),
    ]
    context = Context(
        boot=boot, intent=intent, attribution=Attribution(boot, intent, NoSymbols()), platform=now.platform,
        switch=SwitchState(cpu, registers, tables), prediction=Prediction(True), current=now.cpu, is_over=False,
        all_facts=Facts(tables, cpu, intent, now.platform, MOST_NAMED),
        # What the tables put into another's memory shares that, whatever frames the boot info tells of.
        told_in_place=Intent(replace(boot, maps=moved(under, boot.maps))),
    )  # fmt: skip
    found = [
        *compose(context, RULES, strikes),
        *(one for rule in able(_CHECKS, context) for one in rule.check(context)),
    ]
    return tuple(sorted(found, key=lambda one: _ORDER[one.severity]))


def _boot(now: StoppedCpu, under: StoppedCpu, cpu: CpuState, known: Known) -> Boot:
    told = {name: value for name, value in now.general.items()} | {"cr3": cpu.cr3}
    return Boot(
        cpus={HANDOFF: CpuRecord(0, HANDOFF, told, now.phys_bits, "", frozenset())},
        memory_map=list(known.memory_map), images=list(known.images), elfs=list(known.elfs),
        segments=list(known.segments), loaded=list(known.loaded), maps=list(known.maps), regions=list(known.regions),
        tables=list(_tables(under, cpu, known)),
        memories={(one.name, HANDOFF): one for one in (*known.memories, *_descriptor_tables(now))},
    )  # fmt: skip


def _tables(under: StoppedCpu, cpu: CpuState, known: Known) -> Iterator[TableRecord]:
    """The table pages of the loader's pool, each for the level at which it is met first."""
    pools = [(one.phys, one.phys + one.last - one.virt) for one in known.maps if one.role == "tables"]
    seen: set[int] = set()
    for stage in stages(under, cpu):
        for phys in integers(stage.phys):
            if phys not in seen and any(first <= phys <= last for first, last in pools):
                seen.add(phys)
                yield TableRecord(0, phys, stage.form.level, 0, 0)


def _descriptor_tables(now: StoppedCpu) -> Iterator[MemoryContents]:
    for name, table in (("gdt", now.gdt), ("idt", now.idt)):
        if table is not None:
            yield MemoryContents(0, name, HANDOFF, table.base, now.bytes_at(table.base, table.limit + 1))
