"""The loader edits the tables that are live, and those are write-protected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.met import met_by
from cr3scope.input.capture.records import SetRecord
from cr3scope.message import Hex, Span, Vector, message
from cr3scope.model.plan_prediction import Firmware
from cr3scope.model.strike import Strike
from cr3scope.paging.reach import stages
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, Reason, access
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ENTRY_BYTES, PAGE_BYTES, PAGE_FRAME, PAGE_OFFSET
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    """Without a trace: a write that was refused, to a table of those under which the firmware ran."""
    entry, firmware = strike.culprit, context.boot.cpus.get("entry")
    if context.is_told or strike.kind is not AccessKind.WRITE or strike.reason is not Reason.READ_ONLY:
        return None
    if entry is None or firmware is None:
        return None
    if context.cpu.cr3 != firmware.registers["cr3"]:
        return None
    phys = met_by(context, strike.virt).phys
    written = None if phys is None else _table_entry(context.tables, context.cpu, phys)
    if written is None:
        return None
    return Claim(
        message("{written} is written, in the firmware's own table, which is read-only", written=written),
        proof=(message("{entry:full} maps the table without R/W, and CR0.WP=1", entry=entry),),
        stands_alone=True, entry=written,
    )  # fmt: skip


def _table_entry(tables: Tables, cpu: CpuState, phys: int) -> EntryRef | None:
    """The entry that lies there; None if no table of the tree does."""
    page, index = phys & PAGE_FRAME, phys % PAGE_BYTES // ENTRY_BYTES
    for stage in stages(tables, cpu):
        rows = np.flatnonzero(stage.phys == np.uint64(page))
        if len(rows):
            return EntryRef(stage.form.level, index, page + index * ENTRY_BYTES, int(stage.entries[rows[0], index]))
    return None


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    old, firmware = boot.dumps.get("old"), Firmware.of(boot)
    if old is None or firmware.tables is None or firmware.cpu is None:
        return
    lines = [check.line for check in boot.checks] + [fault.line for fault in boot.faults]
    after_switch = min(lines, default=None)
    told: set[int] = set()
    for record in boot.sets:
        page = record.entry & PAGE_FRAME
        if page not in old.tables or page in told:
            continue
        if after_switch is not None and record.line > after_switch:
            return
        # Firmware maps memory at its own addresses (UEFI 2.10, 2.3.4).
        found = access(
            firmware.tables, firmware.cpu, record.entry, AccessKind.WRITE, width=ENTRY_BYTES
        )
        if isinstance(found, PageFault) and found.reason is Reason.READ_ONLY:
            told.add(page)
            yield _finding(context, record, found)


def _finding(context: Context, record: SetRecord, fault: PageFault) -> Finding:
    entry = EntryRef(record.level, record.index, record.entry, record.old)
    page = record.entry & PAGE_FRAME
    title = message("{entry} is written, in the firmware's own table, which is read-only", entry=entry)
    protection = message(
        "{leaf:full} maps the table page {table} without R/W, and CR0.WP=1",
        leaf=fault.guilty[-1],
        table=Span(page, page + PAGE_OFFSET),
    )
    if context.boot.closed:  # the loader went on: it must have cleared CR0.WP
        came_through = message("{protection} at entry; the write came through", protection=protection)
        finding = RULE.finding(title, came_through, severity=Severity.NOTE)
    else:
        raised = message(
            "{vector} (error {error_code:04x}), CR2={cr2}, before the switch: {protection}",
            vector=Vector(fault.vector),
            error_code=fault.error_code,
            cr2=Hex(fault.virt),
            protection=protection,
        )
        finding = RULE.finding(title, raised)
    source = context.attribution.source(entry, record.entry)
    return replace(finding, entry=entry, range=(page, page + PAGE_OFFSET), source=source)


RULE = Rule(
    id="firmware-tables-readonly",
    title="the firmware's live page tables are written to",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Firmware write-protects its own page tables and runs with CR0.WP=1, so that a supervisor "
        "write to them faults like any other. Loaders that only add a mapping to what CR3 holds "
        "meet this on newer firmware, after years without it."
    ),
    shows="v=0e e=0003 with CR2 inside a table page, before any mov cr3; RIP in the loader.",
    fix=(
        "Build tables of your own and copy what you keep. Clearing CR0.WP around the write works, "
        "and edits tables that the firmware takes for its own."
    ),
    manual="Intel SDM volume 3A, 5.6.1 (CR0.WP)",
    claim=_claim,
    check=_check,
)
