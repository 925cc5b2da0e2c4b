"""The walk of a page fault's address that the guest's own kernel printed, judged entry by entry."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.input.logs.event import RegisterDump, Walked
from cr3scope.paging.faulted_access import faulted_access
from cr3scope.paging.printed_walk import Printed, judge_printed
from cr3scope.paging.walk import Reason
from cr3scope.verdict.types import FaultWalk, WalkLevel
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.exceptions import PF_PRESENT, PF_RESERVED, PF_USER

_CHANGED = "the tables were changed since, or others were used"


def walk_as_printed(walked: Walked, fault: Fault | None, dump: RegisterDump) -> FaultWalk:
    """Return the walk that the guest's kernel printed, judged for the access of the page fault.

    Without a fault, or its error code, only an entry that is not present refuses, whatever the access is.
    ``dump``: the registers at the fault, as far as they were printed.
    """
    error = None if fault is None else fault.error_code
    cr3 = dump.cr3 if fault is None or fault.cr3 is None else fault.cr3
    usual = CpuState(cr3 or 0)
    cpu = replace(
        usual,
        cr0=usual.cr0 if dump.cr0 is None else dump.cr0,
        cr4=dump.cr4 or 0,
        efer=usual.efer if dump.efer is None else dump.efer,
        rflags=usual.rflags if dump.flags is None else dump.flags,
    )
    if walked.entries:
        cpu = cpu.with_depth(walked.entries[0][0])
    kind, is_user = AccessKind.READ, False
    if fault is not None and error is not None:
        kind, is_user = faulted_access(cpu, fault), bool(error & PF_USER)
    reserved = None if error is None else bool(error & PF_RESERVED)
    found = judge_printed(walked.entries, walked.virt, cpu, kind, is_user, reserved)
    refused, guilty = found.refused, found.guilty
    if error is None and refused is not Reason.NOT_PRESENT:
        refused, guilty = None, ()
    return FaultWalk(
        virt=walked.virt, cr3=cr3,
        access="an access" if error is None else f"{'user' if is_user else 'supervisor'} {kind.value}",
        refused=refused.value if refused else None, dump="",
        levels=tuple(
            WalkLevel(entry, entry in guilty and (refused is not Reason.RESERVED or len(guilty) == 1))
            for entry in found.entries
        ),
        is_printed=True, remark=_remark(found, refused, error, dump),
    )  # fmt: skip


def _remark(found: Printed, refused: Reason | None, error: int | None, dump: RegisterDump) -> str:
    """What keeps a walk that was printed from being the whole answer."""
    if error is None:
        return "" if refused else "the error code is not told: what the access was is not known"
    if refused is Reason.NOT_PRESENT:
        return f"but the error code says that all entries were present: {_CHANGED}" if error & PF_PRESENT else ""
    if refused is Reason.RESERVED:
        if not found.is_whole:
            return "the print ends before the leaf: the reserved bit may be further down"
        if not found.guilty:
            return f"but no CPU holds a bit of these for reserved: {_CHANGED}"
        return "" if len(found.guilty) == 1 else "which of them depends on the CPU (MAXPHYADDR, EFER.NXE, 1 GiB pages)"
    if not found.is_whole:
        return "" if refused else "the print ends before the leaf: what is further down is not known"
    if not error & PF_PRESENT:
        return f"but the error code says that an entry was not present: {_CHANGED}"
    if refused is None and dump.cr4 is None:
        return "CR4 is not told: SMEP, SMAP or a protection key may have refused it"
    return "" if refused else f"{_CHANGED}, or a protection key refused it"
