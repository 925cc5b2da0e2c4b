"""The address spaces of QEMU's log: what matters of each, found without reading what lies between."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import InterruptRecord, TripleFault
from cr3scope.input.logs.int_log import cpus, switch
from cr3scope.input.logs.int_log.boots import STRUCK, TRIPLE_FAULT, UNDELIVERED
from cr3scope.input.logs.int_log.count import count
from cr3scope.input.logs.int_log.record import MAX_RECORD, RECORD, read_records, read_reset
from cr3scope.input.logs.logfile import WINDOW, LogPart
from cr3scope.input.logs.observe import KEPT, Excerpt, WhichCpu
from cr3scope.input.logs.same_cpu import are_one, by_task, of_one_cpu
from cr3scope.input.logs.switched import Switch
from cr3scope.x86.exceptions import DOUBLE_FAULT

_TAIL = 256 << 10
_LINE = 64  # holds the line before a record
_INTERRUPT_SIGNS = (b"Servicing hardware INT", RECORD)
_ORIGIN = b"check_exception old: 0xffffffff new 0x"


class IntLogSpaces:
    """The address spaces of one boot, by the CR3 of its register dumps."""

    def __init__(self, log: LogPart) -> None:
        self._log = log

    @property
    def saw_interrupts(self) -> bool:
        """Return whether the log tells of interrupts: exceptions would stand in it, too."""
        return any(self._log.find(sign) >= 0 for sign in _INTERRUPT_SIGNS)

    def last(self) -> int | None:
        """Return the CR3 of the last exception that was raised on its own account."""
        end = self._log.size
        for _ in range(KEPT):
            place = self._log.rfind(_ORIGIN, 0, end)
            if place < 0:
                return None
            for record in read_records(self._log.read(place, 2 * MAX_RECORD), place):
                if record.is_exception:  # one of another CPU may stand before it
                    if record.cr3 is not None:
                        return record.cr3
                    break
            end = place
        return None

    def under(self, cr3: int) -> Excerpt | None:
        """Return what happened under ``cr3``, from the first dump that shows it."""
        log = self._log
        place = switch.first_with(log, cr3)
        if place is None:
            return None
        changed = Switch(cr3, switch.dumped_before(log, place), switch.loaded_at(log, cr3, place))
        early = list(islice(_exceptions(log, max(place - MAX_RECORD, log.first), cr3), KEPT))
        if not early:
            return Excerpt(changed, place=place)
        last = switch.last_with(log, cr3, place)
        start = max(last - _TAIL, early[0].offset - _LINE)
        late = [r for r in _exceptions(log, start, cr3) if early[0].offset <= r.offset <= last]
        others = len(by_task(late or early)) > 1
        early, late = of_one_cpu(
            early, late or early,
            died=lambda record: record.vector == DOUBLE_FAULT and _triple_fault(log, record) is not None,
            fell_silent=lambda record: _is_last_of_its_cpu(log, record),
        )  # fmt: skip
        end = late[-1]
        return Excerpt(
            changed, early, late,
            before=partial(_record_before, log),
            after=_interrupts(log, end, place),
            end=_triple_fault(log, end),
            # Numbers count the records of all CPUs.
            records=len({record.offset for record in (*early, *late)}) if others else None,
            place=place,
            cut=end.offset if end.cr3 is None else None,
        )  # fmt: skip

    def cpu(self, excerpt: Excerpt) -> WhichCpu:
        """Return which CPU the last exception is of, by what the log tells around it."""
        end, place = excerpt.late[-1], excerpt.place
        before = [r for r in _records_before(self._log, place) if r.cr3 != excerpt.early[0].cr3]
        return cpus.which(self._log, end, place, before, others=excerpt.records is not None)

    def count(self, _excerpt: Excerpt, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return what comes from ``first`` to ``last``, of all address spaces."""
        return count(self._log, first, last)


def _records_before(log: LogPart, place: int) -> list[InterruptRecord]:
    start = max(place - 4 * MAX_RECORD, log.first)
    return list(read_records(log.read(start, place - start), start))


def _is_last_of_its_cpu(log: LogPart, record: InterruptRecord) -> bool:
    """Whether the log tells nothing of this CPU after an exception."""
    data = log.read(record.offset, _TAIL)
    later = list(islice(read_records(data, record.offset), 1, None))
    return bool(later) and not any(are_one(record, other) for other in later)


def _record_before(log: LogPart, first: InterruptRecord) -> InterruptRecord | None:
    start = max(first.offset - 2 * MAX_RECORD, log.first)
    return next(reversed(list(read_records(log.read(start, first.offset - start), start))), None)


def _interrupts(log: LogPart, end: InterruptRecord, place: int) -> list[InterruptRecord]:
    """What of the hardware came after the last exception, up to a reset.

    Of several CPUs, one that is still where all were before the switch is another.
    """
    elsewhere = switch.dumped_before(log, place) if len(cpus.named(log)) > 1 else None
    after = log.read(end.offset, _TAIL).split(b"CPU Reset (CPU", 1)[0]
    return [
        record
        for record in read_records(after, end.offset)
        if not record.is_exception
        and are_one(record, end)
        and (elsewhere is None or record.cr3 != elsewhere)
    ]


def _triple_fault(log: LogPart, end: InterruptRecord) -> TripleFault | None:
    """The end of a CPU's last exception; None if it was delivered.

    Without `cpu_reset` QEMU does not say so; a fault in a double fault's delivery is one.
    """
    after = log.read(end.offset, 4 * MAX_RECORD)
    later = islice(read_records(after, end.offset), 1, None)
    following = next((r.offset for r in later if r.is_exception and are_one(r, end)), None)
    if following is not None:
        after = after[: following - end.offset]
    undelivered, told = after.find(UNDELIVERED), after.find(TRIPLE_FAULT)
    if undelivered < 0 and told < 0:
        return None
    struck = STRUCK.match(after, undelivered) if undelivered >= 0 else None
    place = max(undelivered, told)
    dumped = read_reset(after, place)
    return TripleFault(end.offset + place, int(struck[1], 16) if struck else None, dumped)


def _exceptions(log: LogPart, start: int, cr3: int | None) -> Iterator[InterruptRecord]:
    """Exception records from ``start`` on, with this CR3 or with none in the log.

    Before each stands a `check_exception` line, so stretches of interrupts are skipped quickly.
    """
    while True:
        start = log.find(b"check_exception", start)
        if start < 0:
            return
        data = log.read(start, WINDOW // 4)
        is_last = start + len(data) >= log.size
        limit = len(data) if is_last else len(data) - MAX_RECORD
        for record in read_records(data, start):
            if record.offset - start >= limit:
                break
            if record.is_exception and record.cr3 in (cr3, None):
                yield record
        if is_last:
            return
        start += limit
