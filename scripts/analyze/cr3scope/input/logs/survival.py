"""Whether the guest got past an exception: its code went on, or it is still inside, or it raises the same for ever."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.input.logs.delivery import is_delivery, least_frame
from cr3scope.input.logs.event import InterruptRecord, RegisterDump
from cr3scope.x86.cpu_state import RFLAGS_IF, USER
from cr3scope.x86.exceptions import SELECTOR_ERRORS, STORM_RUN

STACK = 64 << 10  # bytes of one stack below an exception


def went_on(first: InterruptRecord, later: Sequence[InterruptRecord]) -> bool:
    """Return whether the interrupted code ran again: a handler's own faults lie below it on its stack.

    Another CR3 than the fault's tells so as well: the next address space was switched to. Of user code nothing else
    tells than user code that runs: handlers have stacks of their own.
    """
    return any(not is_delivery(record) and record.identity != first.identity and is_past(first, record.cpu) for record in later)


def is_past(first: InterruptRecord, cpu: RegisterDump) -> bool:
    """Return whether these later registers are of code that is behind an event and its handler."""
    if cpu.cr3 not in (None, first.cr3):
        return True
    if first.cpu.cpl == USER or cpu.cpl == USER:
        return cpu.cpl == USER
    return cpu.rsp is not None and first.rsp is not None and cpu.rsp >= first.rsp


def is_over(records: Sequence[InterruptRecord], origin: InterruptRecord | None) -> bool:
    """Return whether code went on after the last exception of a CPU; ``origin``: what comes next."""
    last = next((at for at in range(len(records) - 1, -1, -1) if records[at].is_exception and not is_delivery(records[at])), None)
    later = [*records[last + 1 :], *([origin] if origin else [])] if last is not None else []
    return last is None or went_on(records[last], [one for one in later if not _may_be_of_delivery(records[last], one)])


def _may_be_of_delivery(before: InterruptRecord, record: InterruptRecord) -> bool:
    """Whether an exception in the very place of another may have come of its delivery, though nothing proves it: #GP(0)."""
    is_alike = record.is_exception and record.vector in SELECTOR_ERRORS
    return is_alike and (record.rip, record.rsp) == (before.rip, before.rsp)


def survived_alike(before: Sequence[InterruptRecord], record: InterruptRecord) -> bool:
    """Return whether the guest survived exceptions of the same kind before: it may well survive this one."""
    before = [one for one in before if one.may_share_cpu(record)]
    return any(
        one.is_exception and (one.vector, one.cpu.cpl) == (record.vector, record.cpu.cpl) and went_on(one, [*before[at + 1 :], record])
        for at, one in enumerate(before)
    )


def is_inside(first: InterruptRecord, later: InterruptRecord) -> bool:
    """Return whether ``later`` may well be of the handler of ``first``: below it on the same stack."""
    if first.cpu.cpl or later.cpu.cpl or is_past(first, later.cpu) or first.rsp is None or later.rsp is None:
        return False
    return least_frame(first) <= first.rsp - later.rsp <= STACK and not (later.cpu.flags or 0) & RFLAGS_IF


def storm_start(records: Sequence[InterruptRecord]) -> int | None:
    """Return the index of the first of at least ``STORM_RUN`` equal exceptions in a row, with which the records end; None if
    they end otherwise.

    What their own delivery raises does not count: a handler's #PF whose every delivery ends in #DF is one storm. One
    that eats the stack may end in anything else: what comes of that lies below it.
    """
    start = count = 0
    for index, record in enumerate(records):
        first = records[start]
        if record.identity == first.identity:
            count += 1
        elif not is_delivery(record) or is_delivery(first):
            if count < STORM_RUN or not _falls(first, records[index - 1]) or is_past(first, record.cpu):
                start, count = index, 1
    return start if count >= STORM_RUN else None


def _falls(first: InterruptRecord, last: InterruptRecord) -> bool:
    return first.rsp is not None and last.rsp is not None and last.rsp < first.rsp


def storm_end(records: Sequence[InterruptRecord], storm: InterruptRecord) -> int:
    """Return the index after the last record that is part of the storm; 0 if none is."""
    return max((i + 1 for i, r in enumerate(records) if r.identity == storm.identity), default=0)
