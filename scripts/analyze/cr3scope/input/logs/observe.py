"""What a log says of one boot: the event that it did not survive, what followed from that, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from cr3scope.input.logs import chain
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.delivery import gate_of_error, is_delivery, least_frame, raised_by, why
from cr3scope.input.logs.event import NO_DUMP, InterruptRecord, Kind, RegisterDump, Stopped, TripleFault, by_task
from cr3scope.input.logs.happened import Happened
from cr3scope.input.logs.standing_words import stopped_words
from cr3scope.input.logs.switched import Switch
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import RFLAGS_IF
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import BREAKPOINT, DOUBLE_FAULT, FIRST_INTERRUPT, IN_IDT, PAGE_FAULT, PROTECTION, SELECTOR_ERRORS
from cr3scope.x86.mov_cr3 import NO_FLUSH
from cr3scope.x86.standing import Standing

MOST_BOOTS = 256  # of one log, the last ones
KEPT = 64  # of the first exceptions under a CR3
STACK = 64 << 10  # bytes of one stack below an exception
_BIOS = range(0xE0000, 0x100000)


@dataclass(frozen=True, slots=True)
class LogReport:
    """``first`` is the event whose chain ended the machine, or after which the log is silent, if it is an exception or an INT
    instruction of a vector of theirs; else the exception that it raised; None if all were handled, or none came. ``ending`` is None if it ran on. ``fatal``: the exception that could not be delivered and made a double
    fault, or stormed, or was delivered; it is another than ``first`` where the delivery of that, or its handler, raised it.

    ``exceptions``: the first ones under the CR3 that the report is about, whatever became of them.
    """

    first: Fault | None = None
    chain: tuple[str, ...] = ()
    ending: Ending | None = None
    records: int = 0  # exceptions under the new CR3; of a storm by their numbers, whatever came between
    switch_offset: int | None = None
    exceptions: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    fatal: Fault | None = None
    detail: str = ""
    source: str = "interrupt log"
    switch: Switch | None = None
    cpu: str = ""  # which of several CPUs this is of, in words
    cpu_number: int | None = None  # the same, where it is certain
    followed: tuple[Fault, ...] = ()  # what came of the fatal exception, or the storm that it became
    counted: Count | None = None  # of what kind ``records`` are; None where nobody counted
    saw_interrupts: bool = False  # the log tells of interrupts: exceptions would stand in it, too
    standing: Standing | None = None  # no log tells it: of whoever has asked the machine
    events: tuple[Happened, ...] = ()  # the chain, its origin first; empty if no event was fatal
    dump: RegisterDump = NO_DUMP  # the registers at its origin; of a death without a record, those at the end
    is_routine: bool = False  # exceptions of the same kind were handled before the last one
    boots: int = 1  # of which the log tells
    alike: int = 0  # boots beside this one that died of the same


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a log tells of one address space, as far as it matters: its first exceptions and its last ones.

    All lists are in the order of the log and of one CPU, where CPUs can be told apart; ``late`` may hold
    what ``early`` holds. Without exceptions both are empty. ``before``: returns the record right before an exception,
    ``recent`` the last ones before it, of all address spaces and CPUs, interrupts too.
    ``end``: that no exception could be delivered after the last one, or that somebody stopped the guest.
    """

    switch: Switch
    early: Sequence[InterruptRecord] = ()
    late: Sequence[InterruptRecord] = ()
    before: Callable[[InterruptRecord], InterruptRecord | None] = field(default=lambda _record: None)
    after: Sequence[InterruptRecord] = ()  # interrupts after the last exception, up to a reset
    end: TripleFault | Stopped | None = None
    records: int | None = None  # exceptions of several CPUs that share the log; None of one: as its numbers tell
    place: int = 0  # byte of the log where the address space first shows
    cut: int | None = None  # the byte at which the log breaks off in its last record
    recent: Callable[[InterruptRecord], Sequence[InterruptRecord]] = field(default=lambda _record: ())


@dataclass(frozen=True, slots=True)
class WhichCpu:
    """One CPU of several, in words; ``number`` is None unless it is certain."""

    words: str = ""
    number: int | None = None


class Spaces(Protocol):
    """The address spaces of which a log tells of one boot, by CR3."""

    @property
    def saw_interrupts(self) -> bool:
        """Return whether the log tells of interrupts: exceptions would stand in it, too."""

    def last(self) -> int | None:
        """Return the CR3 of the last chain of exceptions; None if the log holds no exception."""

    def under(self, cr3: int) -> Excerpt | None:
        """Return what happened under ``cr3``; None if it never stands in the log."""

    def cpu(self, excerpt: Excerpt) -> WhichCpu:
        """Return which CPU the last exception is of; nothing if nothing tells of more than one."""

    def count(self, excerpt: Excerpt, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return what comes from ``first`` to ``last``, two of the excerpt's exceptions, both included.

        This may read much of a log: a storm is not counted.
        """


def report_on(boots: Sequence[Spaces], planned: int | None = None) -> LogReport:
    """Return what came of the last boot that died of something, else of the last one; ``boots`` in the order of the log.

    Told is what came under the planned CR3; without one, under that of the last chain of exceptions.
    """
    planned = None if planned is None else planned & ~NO_FLUSH
    reports = []
    for spaces in reversed(boots):
        report = _of_boot(spaces, planned)
        is_silent = report.ending is None and not report.records and not spaces.saw_interrupts
        if not is_silent and not is_reboot_of_firmware(report):
            reports.append(report)
    if not reports:
        return _of_boot(boots[-1], planned)
    died = [report for report in reports if report.ending is not None]
    chosen = next((report for report in died if not report.is_routine), died[0] if died else reports[0])
    alike = sum(_identity(report) == _identity(chosen) for report in died) - bool(died)
    words = f"the same in {alike + 1} of {len(reports)} boots" if alike else ""
    if not alike and died and len(reports) > 1:
        words = f"of {len(reports)} boots that the log tells of, this is number {len(reports) - reports.index(chosen)}"
    return replace(chosen, boots=len(reports), alike=alike, notes=(*chosen.notes, words) if words else chosen.notes)


def _identity(report: LogReport) -> object:
    return report.ending, report.events[0].record.identity if report.events else None


def is_reboot_of_firmware(report: LogReport) -> bool:
    """Return whether SeaBIOS reset the machine: it executes INT3 on an empty IDT when it finds that it has run before."""
    if report.ending not in (Ending.TRIPLE_FAULT, Ending.DELIVERED) or not report.events:
        return False
    origin = report.events[0].record
    is_trap = origin.kind is Kind.INT and origin.vector == BREAKPOINT
    is_rest = origin.vector == PROTECTION and gate_of_error(origin.error_code or 0, BREAKPOINT, origin.cpu)
    is_rest = is_rest or origin.vector == DOUBLE_FAULT and origin.old == PROTECTION  # of a log whose head is cut
    return (is_trap or origin.is_exception and is_rest) and is_reset_of_firmware(origin.cpu)


def is_reset_of_firmware(cpu: RegisterDump) -> bool:
    """Return whether a CPU that could not deliver an exception was in the BIOS, which resets the machine so."""
    place = cpu.rip if cpu.linear is None else cpu.linear
    return place in _BIOS and cpu.is_protected is not False and cpu.has_paging is not True and not cpu.cpl


def _of_boot(spaces: Spaces, planned: int | None) -> LogReport:
    if planned is not None:
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
    report = _report(spaces, excerpt)
    if report.ending is None:
        return replace(report, switch=excerpt.switch)
    origin, which = report.events[0].record.cpu, spaces.cpu(excerpt)
    is_told = origin.has_paging is not False and origin.cr3 is not None and not report.events[0].record.reported_by
    report = replace(
        report, cpu=which.words, cpu_number=which.number, switch=excerpt.switch if is_told else None
    )
    if excerpt.records is not None:
        report = replace(report, records=excerpt.records, counted=None)
    return report


def _report(spaces: Spaces, excerpt: Excerpt) -> LogReport:
    early, late = excerpt.early, excerpt.late
    known = sorted({record.offset: record for record in (*early, *late)}.values(), key=lambda record: record.offset)
    dead = isinstance(excerpt.end, TripleFault)
    first, end = early[0], late[-1]
    counted: Count | None = None
    records = max(end.number - first.number + 1, len(early))
    stormy = _storm(excerpt)
    if stormy is not None:
        lead, storm = stormy
        after = late[chain.storm_end(late, storm) :]
        repeated = [r for r in late if r.identity == storm.identity] or [storm]
        row = _with_origin(excerpt, [*lead, storm], None)  # the end is that of the last one
        words = (
            *chain.chain_words(row),
            chain.storm_words(storm, repeated[-1], repeated[-1].number - storm.number + 1),
            *chain.chain_words(_happened([repeated[-1], *after], excerpt.end)),
        )
        ending: Ending | None = Ending.STORM
        fatal = lead[0] if lead else storm
    else:
        reported = [record for record in known if record.reported_by]
        own = [record for record in known if record.may_share_cpu(end)]
        row = _with_origin(excerpt, reported[:1] or _last_chain(own), excerpt.end)
        fatal = reported[0] if reported else known[_origin(known, len(known) - 1)]
        words = chain.chain_words(row)
        counted = spaces.count(excerpt, first, end)
        records = counted.records if counted.exceptions is None else max(counted.exceptions, len(early))
        ending = _ending(excerpt, row)
    if dead:
        words = (*words, "no exception could be delivered: triple fault, the machine resets")
    if ending is None:
        handled = counted.handled_words if counted is not None else ""
        return LogReport(
            records=records, counted=counted, switch_offset=excerpt.place, notes=_notes(excerpt, first),
            exceptions=tuple(record.fault for record in early), detail=handled,
        )  # fmt: skip
    origin = row[0].record
    detail = "; ".join(filter(None, (chain.form_words(row, stormy is not None), origin.said)))
    if ending is Ending.DELIVERED:
        fatal = next(happened.record for happened in row if happened.record.is_exception)
    if isinstance(excerpt.end, Stopped):
        detail = stopped_words(excerpt.end)
    earlier = _earlier_words(spaces, excerpt, known, row)
    is_headline = origin.vector < FIRST_INTERRUPT and origin.kind is not Kind.INTERRUPT
    exceptions = (happened.record for happened in row if happened.record.is_exception)
    return LogReport(
        first=origin.fault if is_headline else next(exceptions).fault,
        chain=words,
        ending=ending,
        records=records + (not origin.is_exception),
        counted=counted,
        switch_offset=excerpt.place,
        exceptions=tuple(record.fault for record in early),
        notes=(*_notes(excerpt, origin), *earlier),
        fatal=fatal.fault,
        detail=detail,
        followed=tuple(dict.fromkeys(happened.record.fault for happened in row[1:])),
        events=tuple(row),
        dump=origin.cpu,
        is_routine=ending is Ending.DELIVERED and _is_routine(excerpt, known, origin),
    )


def _happened(records: Sequence[InterruptRecord], end: TripleFault | Stopped | None) -> list[Happened]:
    """The records of one chain, each with why it could not be delivered, if the next one or the end is of its delivery."""
    found = []
    for index, record in enumerate(records):
        is_last = index + 1 == len(records)
        following = None if is_last else records[index + 1]
        of_delivery = index > 0 and raised_by(records[index - 1], record)
        struck: int | None = None
        after: RegisterDump | None = None
        error: int | None = None
        if following is not None and raised_by(record, following):
            struck = following.struck if is_delivery(following) else following.vector
            error = following.error_code if struck == following.vector else None
            after = following.cpu
        elif following is None and isinstance(end, TripleFault):
            struck, after = end.struck, end.cpu
        if after is None:
            found.append(Happened(record, of_delivery, record.why))
            continue
        if struck is None and after.cr2 not in (None, record.cr2):
            struck = PAGE_FAULT  # whoever wrote the log does not say so, but CR2 is new
        selects = error is not None and struck in SELECTOR_ERRORS and not error & IN_IDT
        found.append(Happened(
            record, of_delivery, record.why or why(record, struck, error, after), after.cr2 if struck == PAGE_FAULT else None,
            error & ~7 if selects and error is not None else None,
        ))  # fmt: skip
    return found


def _with_origin(
    excerpt: Excerpt, records: Sequence[InterruptRecord], end: TripleFault | Stopped | None
) -> list[Happened]:
    """The chain with the interrupts, INT instructions and benign exceptions before it whose delivery raised it: what they
    raise makes no double fault, and stands for itself (SDM 3A, table 7-5)."""
    row = list(records)
    while (before := excerpt.before(row[0])) is not None and len(row) < KEPT and raised_by(before, row[0]):
        row.insert(0, before)
    return _happened(row, end)


def _earlier_words(
    spaces: Spaces, excerpt: Excerpt, known: Sequence[InterruptRecord], row: Sequence[Happened]
) -> tuple[str, ...]:
    """What came before the fatal one."""
    first, origin = excerpt.early[0], row[0].record
    fatal = next((happened.record for happened in row if happened.record.is_exception), first)
    if fatal.offset <= first.offset:
        return ()
    before = spaces.count(excerpt, first, fatal).without_last
    if not before.exceptions and before.exceptions is not None:
        return ()
    was = "was" if before.exceptions == 1 else "were"
    handled = f"and {was} handled"
    if not _is_behind(excerpt, known, origin):
        handled = f"(whether {'it' if before.exceptions == 1 else 'the last of them'} was handled is not known)"
    return (f"{before.words} came first {handled}; fatal: {chain.title(origin)}",)


def _is_behind(excerpt: Excerpt, known: Sequence[InterruptRecord], origin: InterruptRecord) -> bool:
    """Whether the guest was out of the handlers of all exceptions before ``origin``."""
    recent = [*excerpt.recent(origin)] or _before(known, origin)
    return all(_is_over(each, origin if each[0].may_share_cpu(origin) else None) for each in by_task(recent))


def _is_over(records: Sequence[InterruptRecord], origin: InterruptRecord | None) -> bool:
    """Whether code went on after the last exception of a CPU; ``origin``: what comes next."""
    last = next((at for at in range(len(records) - 1, -1, -1) if records[at].is_exception and not is_delivery(records[at])), None)
    later = [*records[last + 1 :], *([origin] if origin else [])] if last is not None else []
    return last is None or chain.went_on(records[last], [one for one in later if not _may_be_of_delivery(records[last], one)])


def _may_be_of_delivery(before: InterruptRecord, record: InterruptRecord) -> bool:
    """Whether an exception in the very place of another may have come of its delivery, though nothing proves it: #GP(0)."""
    is_alike = record.is_exception and record.vector in SELECTOR_ERRORS
    return is_alike and (record.rip, record.rsp) == (before.rip, before.rsp)


def _storm(excerpt: Excerpt) -> tuple[list[InterruptRecord], InterruptRecord] | None:
    """The storm with which the exceptions end, and of which no code ran on, with what led into it; None if there is none."""
    early, late = excerpt.early, excerpt.late
    start = chain.storm_start(late)
    if start is None:
        return None
    storm, before = late[start], late[:start]
    if not start and (began := chain.storm_start(early)) is not None and early[began].identity == storm.identity:
        storm, before = early[began], early[:began]
    if any(record.rip != storm.rip for record in excerpt.after) and chain.went_on(storm, excerpt.after):
        return None
    return _lead(before, storm), storm


def _lead(before: Sequence[InterruptRecord], storm: InterruptRecord) -> list[InterruptRecord]:
    """The exceptions that led into the storm, out of those before it: it is of the handler of the last one."""
    if not before or storm.number != before[-1].number + 1:
        return []
    is_handler = storm.access == "fetch" and storm.cr2 == storm.cpu.linear  # which nothing has ever entered
    return _last_chain(before) if is_handler else _last_chain([*before, storm])[:-1]


def _last_chain(records: Sequence[InterruptRecord]) -> list[InterruptRecord]:
    """The last exception that was raised on its own account, with what came of its delivery; before it the one whose
    handler it was raised in, where nothing shows that the guest was out of that again."""
    start = _raised_first(records, len(records) - 1)
    while start > 0:
        before = _raised_first(records, start - 1)
        adjacent = records[start].number == records[start - 1].number + 1
        later = (at for at in range(before + 1, len(records)) if not _is_of_delivery(records, at))
        if not adjacent or not all(_is_inside(records[before], records[at]) for at in later):
            break
        if _survived_alike(records[:before], records[before]):
            break
        start = before
    return list(records[start:])


def _raised_first(records: Sequence[InterruptRecord], last: int) -> int:
    """The exception out of whose delivery all others up to ``last`` came."""
    while _is_of_delivery(records, last):
        last -= 1
    return last


def _is_of_delivery(records: Sequence[InterruptRecord], at: int) -> bool:
    """Whether an exception was raised by the delivery of the one before it."""
    if not at or is_delivery(records[at]):
        return at > 0
    before, record = records[at - 1], records[at]
    return record.number == before.number + 1 and raised_by(before, record)


def _origin(records: Sequence[InterruptRecord], last: int) -> int:
    while last > 0 and is_delivery(records[last]):
        last -= 1
    return last


def _is_inside(first: InterruptRecord, later: InterruptRecord) -> bool:
    """Whether ``later`` may well be of the handler of ``first``: below it on the same stack."""
    if first.cpu.cpl or later.cpu.cpl or chain.is_past(first, later.cpu) or first.rsp is None or later.rsp is None:
        return False
    return least_frame(first) <= first.rsp - later.rsp <= STACK and not (later.cpu.flags or 0) & RFLAGS_IF


def _ending(excerpt: Excerpt, row: Sequence[Happened]) -> Ending | None:
    """Of a boot without a storm: the last exception decides."""
    if isinstance(excerpt.end, TripleFault):
        return Ending.TRIPLE_FAULT
    if isinstance(excerpt.end, Stopped):
        return Ending.STOPPED
    if row[0].record.reported_by:  # who says so cannot mend it, and later ones follow from it
        return Ending.HANDLED
    return None if chain.went_on(row[0].record, excerpt.after) else Ending.DELIVERED


def _is_routine(excerpt: Excerpt, known: Sequence[InterruptRecord], origin: InterruptRecord) -> bool:
    """Whether exceptions of the same kind were survived before, in this address space or in another."""
    if not origin.is_exception:
        return False
    return _survived_alike(_before(known, origin), origin) or _survived_alike(excerpt.recent(origin), origin)


def _before(records: Sequence[InterruptRecord], one: InterruptRecord) -> list[InterruptRecord]:
    return [record for record in records if record.offset < one.offset]


def _survived_alike(before: Sequence[InterruptRecord], record: InterruptRecord) -> bool:
    """Whether the guest survived exceptions of the same kind before: it may well survive this one."""
    before = [one for one in before if one.may_share_cpu(record)]
    return any(
        one.is_exception and (one.vector, one.cpu.cpl) == (record.vector, record.cpu.cpl) and chain.went_on(one, [*before[at + 1 :], record])
        for at, one in enumerate(before)
    )


def _notes(excerpt: Excerpt, origin: InterruptRecord) -> tuple[str, ...]:
    cut = () if excerpt.cut is None else (f"the last record is cut short, at byte {excerpt.cut}",)
    return (*origin.remarks, *cut)
