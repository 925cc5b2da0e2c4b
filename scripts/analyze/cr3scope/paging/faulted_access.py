"""Which access a page fault was about, by its error code."""

from __future__ import annotations

from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.exceptions import PF_FETCH, PF_WRITE


def faulted_access(cpu: CpuState, fault: Fault) -> AccessKind:
    """Return what the access was. Without NX and SMEP error codes do not tell fetches (SDM 3A, 5.7)."""
    error = fault.error_code or 0
    if fault.is_fetch or error & PF_FETCH or (not cpu.tells_fetches and fault.cr2 == fault.rip and not error & PF_WRITE):
        return AccessKind.FETCH
    return AccessKind.WRITE if error & PF_WRITE else AccessKind.READ
