"""The address of a page fault, walked through the tables that a capture holds of its run."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.images.symbols import LineSource
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot, Dump
from cr3scope.model.intent import Intent
from cr3scope.paging.walk import PageFault, access, walk
from cr3scope.verdict.types import FaultWalk, WalkLevel
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.exceptions import PAGE_FAULT, PF_FETCH, PF_USER, PF_WRITE
from cr3scope.x86.platform import Platform

_DUMPS = ("new", "after", "old")  # what the fault met, in this order


def fault_walk(boot: Boot, fault: Fault, lines: LineSource) -> FaultWalk | None:
    """Return the walk of the address of a page fault.

    None for any other fault, or if the capture has no tables of its address space.
    """
    if fault.vector != PAGE_FAULT or fault.cr2 is None:
        return None
    dump = _dump_of(boot, fault.cr3)
    state = boot.cpus.get("handoff")
    if dump is None or state is None:
        return None
    error = fault.error_code or 0
    kind = AccessKind.READ
    if error & PF_FETCH:
        kind = AccessKind.FETCH
    elif error & PF_WRITE:
        kind = AccessKind.WRITE
    is_user = bool(error & PF_USER)
    cpu = replace(cpu_state(state), cr3=dump.cr3)
    tables = DumpTables(dump)
    path = walk(tables, cpu, fault.cr2)
    found = access(tables, cpu, fault.cr2, kind, is_user, platform=Platform.TCG)
    guilty = found.guilty if isinstance(found, PageFault) else ()
    attribution = Attribution(boot, Intent(boot), lines)
    return FaultWalk(
        virt=fault.cr2,
        cr3=dump.cr3,
        access=f"{'user' if is_user else 'supervisor'} {kind.value}",
        refused=found.reason.value if isinstance(found, PageFault) else None,
        dump=dump.id,
        levels=tuple(
            WalkLevel(entry, entry in guilty, attribution.source(entry, fault.cr2))
            for entry in path.entries
        ),
    )


def _dump_of(boot: Boot, cr3: int | None) -> Dump | None:
    dumps = [boot.dumps[name] for name in _DUMPS if name in boot.dumps]
    if cr3 is None:
        return dumps[0] if dumps else None
    root = CpuState(cr3).root
    return next((dump for dump in dumps if CpuState(dump.cr3).root == root), None)
