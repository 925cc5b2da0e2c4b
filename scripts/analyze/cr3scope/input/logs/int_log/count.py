"""How many records of each kind stand in a stretch of the log.

QEMU numbers exceptions and interrupts in one row, so that the difference of two numbers counts the ticks of a
timer as well.
"""

from __future__ import annotations

from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.int_log.record import MAX_RECORD, read_kinds
from cr3scope.input.logs.logfile import WINDOW, LogPart

MOST_BYTES = 32 << 20  # a tenth of a second; of a longer stretch the kinds are not told


def count(log: LogPart, first: InterruptRecord, last: InterruptRecord) -> Count:
    """Return what comes from ``first`` to ``last``, both included."""
    records = last.number - first.number + 1
    if last.offset - first.offset > MOST_BYTES:
        return Count(records, None, None)
    exceptions = interrupts = 0
    for start in range(first.offset, last.offset + 1, WINDOW):
        end = min(start + WINDOW, last.offset + 1)
        before = max(start - MAX_RECORD, 0)  # holds the lines that tell of what kind the first ones are
        data = log.read(before, end + MAX_RECORD - before)
        for place, is_exception in read_kinds(data, start - before, end - before):
            exceptions += is_exception
            interrupts += not is_exception
    return Count(max(records, exceptions + interrupts), exceptions, interrupts)
