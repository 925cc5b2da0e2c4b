"""Whether delivery wanted a stack that only the TSS can give."""

from __future__ import annotations

from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.happened import Happened


def is_of_ring0_stack(failed: Happened) -> bool:
    """Return whether a delivery failed for want of a stack that only the TSS can give."""
    if failed.why is Why.NO_TSS:
        return True
    cpu = failed.record.cpu
    if not cpu.cpl or failed.touched is None:
        return False
    return failed.why is Why.STACK_UNMAPPED or failed.why is Why.TSS_UNMAPPED and cpu.task == 0
