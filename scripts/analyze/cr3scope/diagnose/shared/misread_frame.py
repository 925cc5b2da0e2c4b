"""Whether a handler's iret took other words for RIP and CS than delivery pushed."""

from __future__ import annotations

from typing import NamedTuple

from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.input.logs.delivery import is_delivery, rsp_at_handler
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.exceptions import PROTECTION, WITH_ERROR_CODE

_SELECTOR = 0xFFFF & ~RPL  # what an error code has of a selector
_LONG_WORD, _WORD = 8, 4  # bytes


class MisreadFrame(NamedTuple):
    """What iret took for CS: a word of the frame of an earlier event. ``is_left``: the error code is still on the stack; else
    one was taken off that was not there."""

    earlier: InterruptRecord
    refused: InterruptRecord
    is_left: bool


def misread_frame(death: LoggedDeath) -> MisreadFrame | None:
    """Return what shows that a handler's iret misread its frame; None if nothing does."""
    for before, after in zip(death.events, death.events[1:]):
        earlier, refused = before.record, after.record
        if after.of_delivery or is_delivery(refused) or refused.vector != PROTECTION or not refused.is_exception:
            continue
        if refused.rip in (None, earlier.rip) or not refused.error_code or refused.cpu.cpl not in (0, None):
            continue
        has_code = earlier.is_exception and earlier.vector in WITH_ERROR_CODE
        taken = earlier.rip if has_code else earlier.cpu.flags
        if taken is not None and taken & _SELECTOR == refused.error_code and _is_at(earlier, refused, has_code):
            return MisreadFrame(earlier, refused, has_code)
    return None


def _is_at(earlier: InterruptRecord, refused: InterruptRecord, has_code: bool) -> bool:
    """Whether RSP is where an iret with this mistake begins: at the error code, or behind the saved RIP."""
    at_handler = rsp_at_handler(earlier)
    word = _LONG_WORD if earlier.cpu.in_long_mode else _WORD
    return at_handler is not None and refused.rsp == at_handler + (0 if has_code else word)
