"""The address of a page fault, walked through the tables that it met, as far as anybody holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot, Dump
from cr3scope.paging.faulted_access import faulted_access
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, access, walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.verdict.types import FaultWalk, WalkLevel
from cr3scope.x86.access import EntryRef, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.exceptions import PAGE_FAULT, PF_USER
from cr3scope.x86.platform import Platform

_DUMPS = ("new", "after", "old")  # what the fault met, in this order

SourceOf = Callable[[EntryRef, int], str | None]


def walk_in_capture(boot: Boot, fault: Fault | None, attribution: Attribution, platform: Platform) -> FaultWalk | None:
    """Return the walk of the address of a page fault.

    None for any other fault, or if the capture has no tables of its address space.
    """
    dump = _dump_of(boot, fault.cr3) if fault else None
    state = boot.cpus.get("handoff")
    if fault is None or dump is None or state is None:
        return None
    cpu = replace(cpu_state(state), cr3=dump.cr3)
    return _walk(DumpTables(dump), cpu, fault, platform, dump.id, attribution.source)


def walk_in_memory(now: StoppedCpu, fault: Fault | None) -> FaultWalk | None:
    """Return the walk of the address of a page fault through the tables that lie in memory now, where nobody tells who
    wrote them. None for any other fault."""
    if fault is None:
        return None
    cpu = now.cpu if fault.cr3 is None else replace(now.cpu, cr3=fault.cr3)
    return _walk(now, cpu, fault, now.platform, "", lambda _entry, _virt: None)


def _walk(
    tables: Tables, cpu: CpuState, fault: Fault, platform: Platform, dump: str, source_of: SourceOf
) -> FaultWalk | None:
    if fault.vector != PAGE_FAULT or fault.cr2 is None:
        return None
    kind = faulted_access(cpu, fault)
    is_user = bool((fault.error_code or 0) & PF_USER)
    path = walk(tables, cpu, fault.cr2, platform)
    found = access(tables, cpu, fault.cr2, kind, is_user, platform=platform)
    guilty = found.guilty if isinstance(found, PageFault) else ()
    return FaultWalk(
        virt=fault.cr2,
        cr3=cpu.cr3,
        access=f"{'user' if is_user else 'supervisor'} {kind.value}",
        refused=found.reason.value if isinstance(found, PageFault) else None,
        dump=dump,
        levels=tuple(
            WalkLevel(entry, entry in guilty, source_of(entry, fault.cr2)) for entry in path.entries
        ),
    )


def _dump_of(boot: Boot, cr3: int | None) -> Dump | None:
    dumps = [boot.dumps[name] for name in _DUMPS if name in boot.dumps]
    if cr3 is None:
        return dumps[0] if dumps else None
    root = CpuState(cr3).root
    return next((dump for dump in dumps if CpuState(dump.cr3).root == root), None)
