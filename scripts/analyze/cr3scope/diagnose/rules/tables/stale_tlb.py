"""Translations that outlive mov cr3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.input.capture.records import Dump
from cr3scope.message import Hex, Message, message
from cr3scope.model.plan_prediction import Firmware
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Walk, walk
from cr3scope.x86.cpu_state import CR4_PGE, CpuState
from cr3scope.x86.entry import GLOBAL, PRESENT, level_bytes
from cr3scope.x86.mode import PAGED

_MOST_WALKS = 2048  # in all: a range is sampled from its start


def _check(context: Context) -> Iterator[Finding]:
    cpu, tables = context.cpu, context.tables
    firmware, old = Firmware.of(context.boot), context.boot.dumps.get("old")
    if tables is None or firmware.tables is None or firmware.cpu is None:
        return
    if not cpu.cr4 & firmware.cpu.cr4 & CR4_PGE or old is None or not _has_global(old):
        return
    left = _MOST_WALKS
    for named in [*context.intent.maps, *context.intent.segments, *context.intent.images]:
        virt = named.virt
        while virt <= named.last and left > 0:
            left -= 1
            before = walk(firmware.tables, firmware.cpu, virt)
            if _outlives(before, tables, cpu):
                yield _finding(context, before, named.label, walk(tables, cpu, virt))
                return
            stopped = level_bytes(before.leaf.level) if before.entries else 1 << 12
            size = stopped if before.stop else min(before.page_size, 1 << 21)
            virt = (virt | size - 1) + 1


def _has_global(dump: Dump) -> bool:
    wanted = np.uint64(GLOBAL | PRESENT)
    return any(bool((page & wanted == wanted).any()) for page in dump.tables.values())


def _outlives(before: Walk, tables: Tables, cpu: CpuState) -> bool:
    """Whether a global translation of the old tables differs from what the new ones say."""
    if before.stop is not None or not before.entries or not before.leaf.value & GLOBAL:
        return False
    after = walk(tables, cpu, before.virt)
    return after.stop is not None or (after.phys, after.rights) != (before.phys, before.rights)


def _finding(context: Context, before: Walk, label: str, after: Walk) -> Finding:
    assert before.phys is not None
    now = Message("nothing")
    if after.phys is not None:
        now = message("{phys} {rights}", phys=Hex(after.phys), rights=after.rights)
    finding = RULE.finding(
        message(
            "a global translation of {virt} ({name}) survives mov cr3", virt=Hex(before.virt), name=label
        ),
        message(
            "old: {old_phys} {old_rights} by {old_entry:full}; new: {now}; CR4.PGE=1 on both sides. "
            "Bites on hardware; QEMU TCG drops global translations too",
            old_phys=Hex(before.phys), old_rights=before.rights, old_entry=before.leaf, now=now,
        ),
    )  # fmt: skip
    last = before.virt | before.page_size - 1
    reach = (before.virt & -before.page_size, last)
    source = context.attribution.source(after.leaf, before.virt) if after.entries else None
    entry = after.leaf if after.entries else None
    return replace(finding, entry=entry, range=reach, source=source)


RULE = Rule(
    id="stale-tlb",
    title="an old translation survives the switch",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "mov cr3 drops every translation but those of leaves with G set while CR4.PGE=1. An "
        "address that the old tables mapped global, and the new ones map otherwise, goes on "
        "leading to the old frame with the old rights until the CPU happens to forget it. The same "
        "holds for an entry that is edited without invlpg."
    ),
    shows=(
        "Nothing in QEMU TCG; on hardware wrong data, or v=0e e=0003 or 0011, late and at random."
    ),
    fix=(
        "Clear CR4.PGE before mov cr3 and set it afterwards, or set no G but in shared kernel "
        "pages."
    ),
    manual="Intel SDM volume 3A, 5.10.4.1 (operations that invalidate TLBs)",
    check=_check,
    needs=SWITCH,
)
