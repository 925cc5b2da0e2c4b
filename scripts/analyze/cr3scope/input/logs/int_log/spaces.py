"""The address spaces of QEMU's log: what matters of each, found without reading what lies between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice

from cr3scope.input.logs.survival import storm_start, went_on
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import InterruptRecord, Kind, TripleFault, by_task
from cr3scope.input.logs.int_log import cpus, switch
from cr3scope.input.logs.int_log.boots import STRUCK, TRIPLE_FAULT, UNDELIVERED
from cr3scope.input.logs.int_log.count import count
from cr3scope.input.logs.int_log.record import MAX_RECORD, RECORD, RESET, read_records, read_reset
from cr3scope.input.logs.logfile import WINDOW, LogPart
from cr3scope.input.logs.log_report import KEPT, Excerpt, WhichCpu
from cr3scope.input.logs.observe import is_reset_of_firmware
from cr3scope.input.logs.same_cpu import of_one_cpu
from cr3scope.input.logs.switched import Switch
from cr3scope.x86.exceptions import DOUBLE_FAULT

_TASK = re.compile(rb"\bTR =[0-9a-f]{4} ([0-9a-f]{8,16}) ")
_TAIL = 256 << 10
_LINE = 64  # holds enough of the line before a record, and no header of one
_SERVICED = b"Servicing hardware INT"
_ANY = b"check_exception old: 0x"
_ORIGIN = _ANY + b"ffffffff new 0x"


class IntLogSpaces:
    """The address spaces of one boot, by the CR3 of its register dumps."""

    def __init__(self, log: LogPart) -> None:
        self._log = log
        self._latest: tuple[int, int] | None = None  # CR3 and place of what ``last`` found
        self._has_looked = False  # for it

    @property
    def saw_interrupts(self) -> bool:
        """Return whether the log tells of interrupts: exceptions would stand in it, too."""
        undelivered = self._log.find(UNDELIVERED)
        if undelivered >= 0 and is_reset_of_firmware(read_reset(self._log.read(undelivered, 2 * MAX_RECORD), 0)):
            undelivered = -1
        if self._log.find(_SERVICED) >= 0 or undelivered >= 0:
            return True
        place = self._log.find(RECORD)
        if place < 0:
            return False
        start = max(place - _LINE, self._log.first - _LINE, 0)
        first = list(islice(read_records(self._log.read(start, 2 * MAX_RECORD), start), 2))
        return not (len(first) == 1 and first[0].kind is Kind.INT and is_reset_of_firmware(first[0].cpu))

    def last(self) -> int | None:
        """Return the CR3 of the last exception that was raised on its own account."""
        if not self._has_looked:
            self._has_looked = True
            telling = self._of_telling_cpu()
            if telling is not None and telling.cr3 is not None:
                self._latest = telling.cr3, telling.offset
            else:
                self._latest = self._last_announced(_ORIGIN) or self._last_announced(_ANY)  # of a log whose head is cut
        return self._latest[0] if self._latest is not None else None

    def _last_announced(self, sign: bytes) -> tuple[int, int] | None:
        end = self._log.size
        for _ in range(KEPT):
            place = self._log.rfind(sign, 0, end)
            if place < 0:
                return None
            for record in read_records(self._log.read(place, 2 * MAX_RECORD), place):
                if record.is_exception:  # one of another CPU may stand before it
                    if record.cr3 is not None:
                        return record.cr3, record.offset
                    break
            end = place
        return None

    def _of_telling_cpu(self) -> InterruptRecord | None:
        """Of several CPUs, an exception of the one that storms, else of the last one that tells nothing after an exception
        while others do; None if there is none, or the last exception of all was the end of the machine."""
        start = max(self._log.size - _TAIL, self._log.first - _LINE, 0)
        data = self._log.read(start, self._log.size - start)
        if len(set(_TASK.findall(data))) < 2:  # most logs are of one CPU, and records take longer to read
            return None
        records = [record for record in read_records(data, start) if record.cr3 is not None]
        groups = by_task(records)
        last = next((record for record in reversed(records) if record.is_exception), None)
        if len(groups) < 2 or last is None or _triple_fault(self._log, last) is not None:
            return None
        exceptions = [[record for record in group if record.is_exception] for group in groups]
        for group, raised in zip(groups, exceptions, strict=True):
            began = storm_start(raised)
            if began is not None and not went_on(raised[began], [record for record in group if record.offset > raised[-1].offset]):
                return raised[-1]
        ends = [group[-1] for group in groups if group[-1] is not records[-1]]
        return next((record for record in reversed(ends) if record.is_exception), None)

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
        if self._latest is not None and self._latest[0] == cr3:
            last = max(last, switch.last_from(log, cr3, self._latest[1]))  # CPUs take turns, and so do their CR3s
        start = max(last - _TAIL, early[0].offset - _LINE)
        late = [r for r in _exceptions(log, start, cr3) if early[0].offset <= r.offset <= last]
        others = len(by_task(late or early)) > 1
        early, late = of_one_cpu(
            early, late or early,
            died=lambda record: record.vector == DOUBLE_FAULT and _triple_fault(log, record) is not None,
            fell_silent=lambda record: _is_last_of_its_cpu(log, record),
            later=partial(_interrupts, log, place=place),
        )  # fmt: skip
        end = late[-1]
        return Excerpt(
            changed, early, late,
            before=partial(_record_before, log),
            recent=partial(_recent, log),
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
    return bool(later) and not any(record.may_share_cpu(other) for other in later)


def _record_before(log: LogPart, first: InterruptRecord) -> InterruptRecord | None:
    return next(reversed(_records_up_to(log, first, 2 * MAX_RECORD)), None)


def _recent(log: LogPart, record: InterruptRecord) -> list[InterruptRecord]:
    """The last records before one."""
    return _records_up_to(log, record, _TAIL)


def _records_up_to(log: LogPart, record: InterruptRecord, reach: int) -> list[InterruptRecord]:
    """Those that begin in so many bytes before one; of what kind the last of them is, that one may tell."""
    start = max(record.offset - reach, log.first - _LINE, 0)
    found = read_records(log.read(start, record.offset + MAX_RECORD - start), start)
    return [one for one in found if one.offset < record.offset]


def _interrupts(log: LogPart, end: InterruptRecord, place: int) -> list[InterruptRecord]:
    """What of the hardware came after the last exception, up to a reset.

    Of several CPUs, one that is still where all were before the switch is another.
    """
    elsewhere = switch.dumped_before(log, place) if len(cpus.named(log)) > 1 else None
    start = max(end.offset - _LINE, log.first - _LINE, 0)
    after = log.read(start, _TAIL)
    if RESET in after:  # of another CPU than the first it may be an INIT
        after = after.split(RESET + b"%d)" % (cpus.owner(log) or 0), 1)[0]
    return [
        record
        for record in read_records(after, start)
        if record.offset > end.offset and not record.is_exception
        and record.may_share_cpu(end)
        and (elsewhere is None or record.cr3 != elsewhere)
    ]


def _triple_fault(log: LogPart, end: InterruptRecord) -> TripleFault | None:
    """The end of a CPU's last exception; None if it was delivered.

    Without `cpu_reset` QEMU does not say so; a fault in a double fault's delivery is one.
    """
    after = log.read(end.offset, 4 * MAX_RECORD)
    later = islice(read_records(after, end.offset), 1, None)
    following = next((r.offset for r in later if r.is_exception and r.may_share_cpu(end)), None)
    if following is not None:
        after = after[: following - end.offset]
    undelivered, told = after.find(UNDELIVERED), after.find(TRIPLE_FAULT)
    if undelivered < 0 and told < 0:
        return None
    struck = STRUCK.match(after, undelivered) if undelivered >= 0 else None
    place = max(undelivered, told)
    dumped = read_reset(after, place, end)
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
