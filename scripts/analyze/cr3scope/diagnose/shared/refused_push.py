"""The push of an exception's frame that failed in the ring in which it was raised."""

from __future__ import annotations

from typing import NamedTuple

from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.shared.ring0_stack import is_of_ring0_stack
from cr3scope.input.logs.delivery import Why, is_push
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.exceptions import PAGE_FAULT, PF_PRESENT, PF_RESERVED


class RefusedPush(NamedTuple):
    """The event whose frame could not be pushed, and where. ``is_own``: to the stack that was in use; else to one that the TSS
    names. ``is_present``: whether a page is there; None where no error code tells: that of a double fault is 0."""

    record: InterruptRecord
    virt: int
    is_own: bool
    is_present: bool | None


def refused_push(death: LoggedDeath) -> RefusedPush | None:
    """Return the push that a delivery failed of; None if it failed of something else."""
    failed = death.failed
    if failed is None or failed.why is not Why.STACK_UNMAPPED or failed.touched is None or is_of_ring0_stack(failed):
        return None
    record, virt = failed.record, failed.touched
    return RefusedPush(record, virt, is_push(record, virt), _is_present(record, virt))


def _is_present(record: InterruptRecord, virt: int) -> bool | None:
    """What a page fault says of the page in which its own frame could not be pushed either."""
    error, cr2 = record.error_code, record.cr2
    if record.vector != PAGE_FAULT or not record.is_exception or error is None or cr2 is None or error & PF_RESERVED:
        return None
    return bool(error & PF_PRESENT) if cr2 & PAGE_FRAME == virt & PAGE_FRAME else None
