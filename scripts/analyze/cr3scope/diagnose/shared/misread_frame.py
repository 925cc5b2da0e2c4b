"""Whether a handler's iret took other words for RIP and CS than delivery pushed."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.input.logs.delivery import is_delivery, rsp_at_handler
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.exceptions import PROTECTION, WITH_ERROR_CODE

_SELECTOR = 0xFFFF & ~RPL  # what an error code has of a selector
_LONG_WORD, _WORD = 8, 4  # bytes


class Misreading(Enum):
    """What is wrong between the handler's first instruction and its iret."""

    CODE_LEFT = "the error code is still on the stack"
    WORD_LEFT = "one word more is on the stack than delivery pushed"
    WORD_TAKEN = "one word was taken off that was not there"
    NARROW = "iret pops words of half the size"


class MisreadFrame(NamedTuple):
    """What iret took for CS: a word of the frame of an ``earlier`` event, or half of one."""

    earlier: InterruptRecord
    refused: InterruptRecord
    misreading: Misreading


def misread_frame(death: LoggedDeath) -> MisreadFrame | None:
    """Return what shows that a handler's iret misread its frame; None if nothing does."""
    for before, after in zip(death.events, death.events[1:]):
        earlier, refused = before.record, after.record
        if after.of_delivery or is_delivery(refused) or refused.vector != PROTECTION or not refused.is_exception:
            continue
        if refused.rip in (None, earlier.rip) or not refused.error_code or refused.cpu.cpl not in (0, None):
            continue
        misreading = _misreading(earlier, refused)
        if misreading is not None:
            return MisreadFrame(earlier, refused, misreading)
    return None


def _misreading(earlier: InterruptRecord, refused: InterruptRecord) -> Misreading | None:
    """What RSP and the refused selector show together.

    Which stack a frame from user mode lies on no record tells: there the selector, 14 bits of the saved RIP, stands for both.
    """
    if earlier.rip is None or earlier.cpu.in_long_mode is None:
        return None
    has_code = earlier.is_exception and earlier.vector in WITH_ERROR_CODE
    word = _LONG_WORD if earlier.cpu.in_long_mode else _WORD
    left = Misreading.CODE_LEFT if has_code else Misreading.WORD_LEFT
    at_handler = rsp_at_handler(earlier)
    is_low_half = earlier.rip & _SELECTOR == refused.error_code
    if at_handler is None:
        return left if earlier.cpu.cpl and is_low_half else None
    if refused.rsp is None:
        return None
    frame = at_handler + word * has_code
    if refused.rsp == frame - word:
        return left if is_low_half else None
    if refused.rsp == frame and earlier.rip >> 4 * word & _SELECTOR == refused.error_code:
        return Misreading.NARROW
    taken = earlier.cpu.flags
    if refused.rsp == frame + word and taken is not None and taken & _SELECTOR == refused.error_code:
        return Misreading.WORD_TAKEN
    return None
