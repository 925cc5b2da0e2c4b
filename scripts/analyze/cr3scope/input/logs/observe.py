"""What a log says about the switch: the first exception under the new CR3, its chain, its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.input.logs import chain, cpus, switch
from cr3scope.input.logs.logfile import WINDOW, LogFile
from cr3scope.input.logs.record import MAX_RECORD, InterruptRecord, read_records
from cr3scope.input.logs.switched import Switch
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import DOUBLE_FAULT, name
from cr3scope.x86.mov_cr3 import NO_FLUSH
from cr3scope.x86.standing import Standing

KEPT = 64
_TAIL = 256 << 10
_LINE = 64  # holds the line before a record
_SIGNS = (b": v=", b"check_exception old: ", b"CPU Reset (CPU ", b"Servicing hardware ", b"SMM: ")
_INTERRUPT_SIGNS = (b"Servicing hardware INT", b": v=")
_ORIGIN = b"check_exception old: 0xffffffff new 0x"


@dataclass(frozen=True, slots=True)
class LogReport:
    """``first`` is None if no exception came under the new CR3; ``ending`` is None if it ran on.

    ``fatal`` is the exception whose chain ended the machine; it is another than ``first`` if
    earlier ones were handled.
    """

    first: Fault | None = None
    chain: tuple[str, ...] = ()
    ending: Ending | None = None
    records: int = 0  # exception records under the new CR3
    switch_offset: int | None = None
    exceptions: tuple[Fault, ...] = ()  # the first ones under the new CR3
    notes: tuple[str, ...] = ()
    fatal: Fault | None = None
    detail: str = ""
    source: str = "interrupt log"
    switch: Switch | None = None
    cpu: str = ""  # which of several CPUs this is of, in words
    followed: tuple[Fault, ...] = ()  # what came of the fatal exception, or the storm that it became
    saw_interrupts: bool = False  # the log tells of interrupts: exceptions would stand in it, too
    standing: Standing | None = None  # no log tells it: of whoever has asked the machine


def observe(path: Path, cr3: int | None = None) -> LogReport:
    """Read the log of one boot; without ``cr3`` that of the last chain of exceptions is taken.

    UnusableInput if the file cannot be read or is no such log.
    """
    with LogFile(Path(path)) as log:
        if not log.size:
            raise UnusableInput(f"{path}: empty: QEMU wrote no interrupt log (-d int,cpu_reset)")
        if not is_interrupt_log(log):
            raise UnusableInput(f"{path}: not a QEMU `-d int` log: it holds no interrupt record")
        return observe_log(log, cr3)


def is_interrupt_log(log: LogFile) -> bool:
    """Return whether anything in the file was written by QEMU's log."""
    return any(log.find(sign) >= 0 for sign in _SIGNS)


def observe_log(log: LogFile, planned: int | None = None) -> LogReport:
    """Read an opened log that is one, as :func:`observe` does."""
    if planned is not None:
        planned &= ~NO_FLUSH
        place = switch.first_with(log, planned)
        if place is not None:
            return _under(log, planned, place)
    last = _last_chain_cr3(log)
    place = None if last is None else switch.first_with(log, last)
    if last is None or place is None:
        absent = "the log holds no exception"
        if planned is not None:
            absent = f"CR3={planned:#x} never stands in the log"
        seen = any(log.find(sign) >= 0 for sign in _INTERRUPT_SIGNS)
        return LogReport(notes=(absent,), saw_interrupts=seen)
    report = _under(log, last, place)
    if planned is None:
        return report
    # It died under another CR3 than planned; firmware that handles exceptions by itself is no news.
    note = f"CR3={planned:#x} never stands in the log; this happened under CR3={last:#x}"
    if report.ending in (Ending.TRIPLE_FAULT, Ending.STORM):
        return replace(report, notes=(note, *report.notes))
    return LogReport(notes=(note,))


def _under(log: LogFile, cr3: int, place: int) -> LogReport:
    """``place``: of the first dump with this CR3."""
    changed = Switch(cr3, switch.dumped_before(log, place), switch.loaded_at(log, cr3, place))
    early = list(islice(_exceptions(log, max(place - MAX_RECORD, 0), cr3), KEPT))
    if not early:
        return LogReport(switch_offset=place, switch=changed)
    last = switch.last_with(log, cr3, place)
    start = max(last - _TAIL, early[0].offset - _LINE)
    late = [r for r in _exceptions(log, start, cr3) if early[0].offset <= r.offset <= last]
    others = len(cpus.by_task(late or early)) > 1
    early, late = _of_one_cpu(log, early, late or early)
    report = _report(log, place, early, late)
    before = [r for r in _records_before(log, place) if r.cr3 != cr3]
    cpu = cpus.which(log, late[-1], place, before, others) if report.ending is not None else ""
    report = replace(report, switch=changed, cpu=cpu)
    if others:  # numbers count the records of all CPUs
        report = replace(report, records=len({record.offset for record in (*early, *late)}))
    interrupt = _undelivered(log, early[0])
    return report if interrupt is None else _with_interrupt(report, interrupt, early[0])


def _records_before(log: LogFile, place: int) -> list[InterruptRecord]:
    start = max(place - 4 * MAX_RECORD, 0)
    return list(read_records(log.read(start, place - start), start))


def _of_one_cpu(
    log: LogFile, early: list[InterruptRecord], late: list[InterruptRecord]
) -> tuple[list[InterruptRecord], list[InterruptRecord]]:
    """The records of the CPU that died; else of one that storms; else of one that fell silent. Of
    all CPUs if they cannot be told apart, or none of these happened."""
    groups = cpus.by_task(late)
    if len(groups) == 1:
        return early, late
    dead = (g for g in groups if g[-1].vector == DOUBLE_FAULT and _is_triple_fault(log, g[-1]))
    storming = (g for g in groups if chain.storm_start(g) is not None)
    silent = (g for g in groups if _is_last_of_its_cpu(log, g[-1]))
    chosen = next(dead, None) or next(storming, None) or next(silent, None)
    if chosen is None:
        return early, late
    return [r for r in early if cpus.are_one(r, chosen[-1])] or chosen[:KEPT], chosen


def _is_last_of_its_cpu(log: LogFile, record: InterruptRecord) -> bool:
    """Whether the log tells nothing of this CPU after an exception."""
    data = log.read(record.offset, _TAIL)
    later = list(islice(read_records(data, record.offset), 1, None))
    return bool(later) and not any(cpus.are_one(record, other) for other in later)


def _undelivered(log: LogFile, first: InterruptRecord) -> InterruptRecord | None:
    """The INT instruction that ``first`` kept from its handler. No `check_exception` stands before
    its record, so it is no exception of its own; one that was handled is none at all."""
    start = max(first.offset - 2 * MAX_RECORD, 0)
    before = list(read_records(log.read(start, first.offset - start)))[-1:]
    return next((r for r in before if r.cr3 == first.cr3 and chain.undelivered(r, first)), None)


def _with_interrupt(
    report: LogReport, interrupt: InterruptRecord, first: InterruptRecord
) -> LogReport:
    """The report as it is with the INT instruction as the beginning of it all."""
    words = f"{name(interrupt.vector)} could not be delivered: that raised {chain.title(first)}"
    return replace(
        report,
        first=interrupt.fault,
        chain=(*chain.chain_words([interrupt, first]), *report.chain),
        records=report.records + 1,
        exceptions=(interrupt.fault, *report.exceptions)[:KEPT],
        notes=(words, *report.notes),
    )


def _report(
    log: LogFile, place: int, early: list[InterruptRecord], late: list[InterruptRecord]
) -> LogReport:
    first, end = early[0], late[-1]
    records = max(end.number - first.number + 1, len(early))
    notes = _notes(log, first, end)
    dead = _is_triple_fault(log, end)
    storm = _storm(early, late)
    if storm is not None:
        after = late[chain.storm_end(late, storm) :]
        lead = [r for r in early[: KEPT // 4] if r.offset < storm.offset][-2:]
        repeated = [r for r in late if r.identity == storm.identity] or [storm]
        origin = lead[0] if lead and not chain.went_on(lead[0], [storm]) else storm
        words = (
            *(chain.chain_words([*lead, storm]) if lead else ()),
            chain.storm_words(storm, repeated[-1], repeated[-1].number - storm.number + 1),
            *chain.chain_words([repeated[-1], *after]),
        )
        ending: Ending | None = Ending.STORM
        row = [origin, storm]
    else:
        row = _last_chain(late)
        origin, words = row[0], chain.chain_words(row)
        ending = _ending(dead, first, [*early, *late, *_interrupts(log, end, place)])
    if dead:
        words = (*words, "no exception could be delivered: triple fault, the machine resets")
    if ending in (None, Ending.HANDLED):
        origin, row, words = first, [first], ()
    detail = chain.form_words(origin, row, storm is not None) or ""
    if ending is None:
        detail = f"{records} exceptions, all handled"
    if origin.offset != first.offset:
        notes.append(_before_the_fatal_one(first, origin))
    return LogReport(
        first=first.fault,
        chain=words,
        ending=ending,
        records=records,
        switch_offset=place,
        exceptions=tuple(record.fault for record in early),
        notes=tuple(notes),
        fatal=origin.fault if ending not in (None, Ending.HANDLED) else None,
        detail=detail,
        followed=tuple(dict.fromkeys(record.fault for record in row[1:])),
    )


def _before_the_fatal_one(first: InterruptRecord, origin: InterruptRecord) -> str:
    """A benign exception makes no double fault: what its delivery raises stands for itself (table 7-5)."""
    words = chain.title(origin)
    if origin.number == first.number + 1 and (origin.rip, origin.rsp) == (first.rip, first.rsp):
        return f"{name(first.vector)} could not be delivered: fatal is what that raised, {words}"
    handled = origin.number - first.number
    return f"{handled} exceptions came first and were handled; fatal: {words}"


def _storm(
    early: list[InterruptRecord], late: list[InterruptRecord]
) -> InterruptRecord | None:
    for records in (early, late):
        start = chain.storm_start(records)
        if start is not None:
            return records[start]
    return None


def _last_chain(late: list[InterruptRecord]) -> list[InterruptRecord]:
    """The last exception that was raised on its own account, and what came of its delivery."""
    start = len(late) - 1
    while start > 0 and chain.is_delivery(late[start]):
        start -= 1
    return late[start:]


def _ending(
    dead: bool, first: InterruptRecord, records: list[InterruptRecord]
) -> Ending | None:
    if dead:
        return Ending.TRIPLE_FAULT
    return None if chain.went_on(first, records) else Ending.HANDLED


def _interrupts(log: LogFile, end: InterruptRecord, place: int) -> list[InterruptRecord]:
    """What of the hardware came after the last exception, up to a reset.

    Of several CPUs, one that is still where all were before the switch is another.
    """
    elsewhere = switch.dumped_before(log, place) if len(cpus.named(log)) > 1 else None
    after = log.read(end.offset, _TAIL).split(b"CPU Reset (CPU", 1)[0]
    return [
        record
        for record in read_records(after, end.offset)
        if not record.is_exception
        and cpus.are_one(record, end)
        and (elsewhere is None or record.cr3 != elsewhere)
    ]


def _is_triple_fault(log: LogFile, end: InterruptRecord) -> bool:
    """Without `cpu_reset` QEMU does not say so; a fault in a double fault's delivery is one."""
    after = log.read(end.offset, 4 * MAX_RECORD)
    later = islice(read_records(after, end.offset), 1, None)
    following = next((r.offset for r in later if r.is_exception and cpus.are_one(r, end)), None)
    if following is not None:
        after = after[: following - end.offset]
    return b"Triple fault" in after or b"check_exception old: 0x%x " % DOUBLE_FAULT in after


def _notes(log: LogFile, first: InterruptRecord, end: InterruptRecord) -> list[str]:
    notes = []
    before = log.read(first.offset - 2 * MAX_RECORD, 2 * MAX_RECORD)
    for interrupt in list(read_records(before))[-1:]:
        note = None if interrupt.is_exception else chain.interrupt_note(interrupt, first)
        if note:
            notes.append(note)
    if end.cr3 is None:
        notes.append(f"the last record is cut short, at byte {end.offset}")
    return notes


def _exceptions(log: LogFile, start: int, cr3: int | None) -> Iterator[InterruptRecord]:
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


def _last_chain_cr3(log: LogFile) -> int | None:
    end = log.size
    for _ in range(KEPT):
        place = log.rfind(_ORIGIN, 0, end)
        if place < 0:
            return None
        for record in read_records(log.read(place, 2 * MAX_RECORD), place):
            if record.is_exception:  # one of another CPU may stand before it
                if record.cr3 is not None:
                    return record.cr3
                break
        end = place
    return None
