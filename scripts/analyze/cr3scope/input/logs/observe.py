"""What a log says about the switch: the first exception under the new CR3, its chain, its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cr3scope.input.logs import chain
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.switched import Switch
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import name
from cr3scope.x86.mov_cr3 import NO_FLUSH
from cr3scope.x86.standing import Standing

KEPT = 64  # of the first exceptions under a CR3


@dataclass(frozen=True, slots=True)
class LogReport:
    """``first`` is None if no exception came under the new CR3; ``ending`` is None if it ran on.

    ``fatal`` is the exception whose chain ended the machine; it is another than ``first`` if
    earlier ones were handled.
    """

    first: Fault | None = None
    chain: tuple[str, ...] = ()
    ending: Ending | None = None
    records: int = 0  # exceptions under the new CR3; of a storm by their numbers, whatever came between
    switch_offset: int | None = None
    exceptions: tuple[Fault, ...] = ()  # the first ones under the new CR3
    notes: tuple[str, ...] = ()
    fatal: Fault | None = None
    detail: str = ""
    source: str = "interrupt log"
    switch: Switch | None = None
    cpu: str = ""  # which of several CPUs this is of, in words
    followed: tuple[Fault, ...] = ()  # what came of the fatal exception, or the storm that it became
    counted: Count | None = None  # of what kind ``records`` are; None where nobody counted
    saw_interrupts: bool = False  # the log tells of interrupts: exceptions would stand in it, too
    standing: Standing | None = None  # no log tells it: of whoever has asked the machine


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a log tells of one address space, as far as it matters: its first exceptions and its last ones.

    All lists are in the order of the log and of one CPU, where CPUs can be told apart; ``late`` may hold
    what ``early`` holds. Without exceptions both are empty.
    """

    switch: Switch
    early: Sequence[InterruptRecord] = ()
    late: Sequence[InterruptRecord] = ()
    before: InterruptRecord | None = None  # the record right before the first exception
    after: Sequence[InterruptRecord] = ()  # interrupts after the last exception, up to a reset
    is_dead: bool = False  # no exception could be delivered after the last one: triple fault
    records: int | None = None  # exceptions of several CPUs that share the log; None of one: as its numbers tell
    place: int = 0  # byte of the log where the address space first shows
    cut: int | None = None  # the byte at which the log breaks off in its last record


class Spaces(Protocol):
    """The address spaces of which a log tells, by CR3."""

    @property
    def saw_interrupts(self) -> bool:
        """Return whether the log tells of interrupts: exceptions would stand in it, too."""

    def last(self) -> int | None:
        """Return the CR3 of the last chain of exceptions; None if the log holds no exception."""

    def under(self, cr3: int) -> Excerpt | None:
        """Return what happened under ``cr3``; None if it never stands in the log."""

    def cpu(self, excerpt: Excerpt) -> str:
        """Return words for the CPU of the last exception; empty if nothing tells of more than one."""

    def count(self, excerpt: Excerpt, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return what comes from ``first`` to ``last``, two of the excerpt's exceptions, both included.

        This may read much of a log: a storm is not counted.
        """


def report_on(spaces: Spaces, planned: int | None = None) -> LogReport:
    """Return what came under the planned CR3; without one, under that of the last chain of exceptions."""
    if planned is not None:
        planned &= ~NO_FLUSH
        excerpt = spaces.under(planned)
        if excerpt is not None:
            return _of_space(spaces, excerpt)
    last = spaces.last()
    excerpt = None if last is None else spaces.under(last)
    if last is None or excerpt is None:
        absent = "the log holds no exception"
        if planned is not None:
            absent = f"CR3={planned:#x} never stands in the log"
        return LogReport(notes=(absent,), saw_interrupts=spaces.saw_interrupts)
    report = _of_space(spaces, excerpt)
    if planned is None:
        return report
    # It died under another CR3 than planned; firmware that handles exceptions by itself is no news.
    note = f"CR3={planned:#x} never stands in the log; this happened under CR3={last:#x}"
    if report.ending in (Ending.TRIPLE_FAULT, Ending.STORM):
        return replace(report, notes=(note, *report.notes))
    return LogReport(notes=(note,))


def _of_space(spaces: Spaces, excerpt: Excerpt) -> LogReport:
    if not excerpt.early:
        return LogReport(switch_offset=excerpt.place, switch=excerpt.switch)
    report = replace(_report(spaces, excerpt), switch=excerpt.switch)
    if report.ending is not None:
        report = replace(report, cpu=spaces.cpu(excerpt))
        if excerpt.records is not None:
            report = replace(report, records=excerpt.records, counted=None)
    first, before = excerpt.early[0], excerpt.before
    # No exception was announced for an INT instruction; one that was handled is none at all.
    if before is not None and before.cr3 == first.cr3 and chain.undelivered(before, first):
        return _with_interrupt(report, before, first)
    return report


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


def _report(spaces: Spaces, excerpt: Excerpt) -> LogReport:
    early, late, dead = excerpt.early, excerpt.late, excerpt.is_dead
    first, end = early[0], late[-1]
    counted: Count | None = None
    records = max(end.number - first.number + 1, len(early))
    notes = _notes(excerpt)
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
        counted = spaces.count(excerpt, first, end)
        records = counted.records if counted.exceptions is None else max(counted.exceptions, len(early))
        ending = _ending(dead, first, [*early, *late, *excerpt.after])
    if dead:
        words = (*words, "no exception could be delivered: triple fault, the machine resets")
    if ending in (None, Ending.HANDLED):
        origin, row, words = first, [first], ()
    detail = chain.form_words(origin, row, storm is not None) or ""
    if ending is None and counted is not None:
        detail = counted.handled_words
    if origin.offset != first.offset:
        notes.append(_before_the_fatal_one(spaces, excerpt, origin))
    return LogReport(
        first=first.fault,
        chain=words,
        ending=ending,
        records=records,
        counted=counted,
        switch_offset=excerpt.place,
        exceptions=tuple(record.fault for record in early),
        notes=tuple(notes),
        fatal=origin.fault if ending not in (None, Ending.HANDLED) else None,
        detail=detail,
        followed=tuple(dict.fromkeys(record.fault for record in row[1:])),
    )


def _before_the_fatal_one(spaces: Spaces, excerpt: Excerpt, origin: InterruptRecord) -> str:
    """A benign exception makes no double fault: what its delivery raises stands for itself (table 7-5)."""
    first = excerpt.early[0]
    words = chain.title(origin)
    if origin.number == first.number + 1 and (origin.rip, origin.rsp) == (first.rip, first.rsp):
        return f"{name(first.vector)} could not be delivered: fatal is what that raised, {words}"
    before = spaces.count(excerpt, first, origin).without_last
    return f"{before.words} came first and {'was' if before.exceptions == 1 else 'were'} handled; fatal: {words}"


def _storm(
    early: Sequence[InterruptRecord], late: Sequence[InterruptRecord]
) -> InterruptRecord | None:
    for records in (early, late):
        start = chain.storm_start(records)
        if start is not None:
            return records[start]
    return None


def _last_chain(late: Sequence[InterruptRecord]) -> list[InterruptRecord]:
    """The last exception that was raised on its own account, and what came of its delivery."""
    start = len(late) - 1
    while start > 0 and chain.is_delivery(late[start]):
        start -= 1
    return list(late[start:])


def _ending(
    dead: bool, first: InterruptRecord, records: list[InterruptRecord]
) -> Ending | None:
    if dead:
        return Ending.TRIPLE_FAULT
    return None if chain.went_on(first, records) else Ending.HANDLED


def _notes(excerpt: Excerpt) -> list[str]:
    notes = []
    if excerpt.before is not None and not excerpt.before.is_exception:
        note = chain.interrupt_note(excerpt.before, excerpt.early[0])
        if note:
            notes.append(note)
    if excerpt.cut is not None:
        notes.append(f"the last record is cut short, at byte {excerpt.cut}")
    return notes
