"""What a log says of one boot: the event that it did not survive, what followed from that, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.input.logs.count import Count
from cr3scope.input.logs.delivery import gate_of_error
from cr3scope.input.logs.event import InterruptRecord, Kind, RegisterDump, Stopped, TripleFault, by_task
from cr3scope.input.logs.fatal_chain import death_of, fatal_storm, happened_in, last_chain, origin_of, with_origin
from cr3scope.input.logs.happened import Death, Happened, Repetition
from cr3scope.input.logs.log_report import Excerpt, LogReport, Spaces
from cr3scope.input.logs.survival import is_over, storm_end, survived_alike, went_on
from cr3scope.message import Hex, Message, message
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import BREAKPOINT, DOUBLE_FAULT, FIRST_INTERRUPT, PROTECTION
from cr3scope.x86.mov_cr3 import NO_FLUSH

_BIOS = range(0xE0000, 0x100000)  # where it lies in a PC, and where SeaBIOS stands when it resets
RESET_BY_BIOS = "the machine was reset: by SeaBIOS (INT3 on an empty IDT); by the log no exception of the guest's did"


def report_on(boots: Sequence[Spaces], planned: int | None = None) -> LogReport:
    """Return what came of the last boot that died of something, else of the last one; ``boots`` in the order of the log.

    Told is what came under the planned CR3; without one, under that of the last chain of exceptions.
    """
    planned = None if planned is None else planned & ~NO_FLUSH
    reports = []
    for spaces in reversed(boots):
        report = _of_boot(spaces, planned)
        if _is_told(spaces, report):
            reports.append(report)
    if not reports:
        return _of_boot(boots[-1], planned)
    died = [report for report in reports if report.ending is not None]
    chosen = next((report for report in died if not report.is_routine), died[0] if died else reports[0])
    alike = sum(_identity(report) == _identity(chosen) for report in died) - bool(died)
    return replace(chosen, boots=len(reports), alike=alike, notes=(*chosen.notes, *_among(reports, chosen, alike, bool(died))))


def _among(reports: Sequence[LogReport], chosen: LogReport, alike: int, has_died: bool) -> Iterator[Message]:
    """What there is to say of the other boots; ``reports``: the last one first."""
    boots = len(reports)
    if alike:
        yield message("the same in {alike} of {boots} boots", alike=alike + 1, boots=boots)
    elif has_died and boots > 1:
        number = boots - reports.index(chosen)
        yield message("of {boots} boots that the log tells of, this is number {number}", boots=boots, number=number)


def reports_by_boot(boots: Sequence[Spaces], planned: Sequence[int | None]) -> list[LogReport] | None:
    """Return what came of each boot of a log; None unless it tells of as many as ``planned`` has CR3s, in their order."""
    told = [(spaces, report) for spaces, report in ((one, _of_boot(one, None)) for one in boots) if _is_told(spaces, report)]
    if len(told) != len(planned):
        return None
    cr3s = (None if cr3 is None else cr3 & ~NO_FLUSH for cr3 in planned)
    return [report if cr3 is None else _of_boot(spaces, cr3) for (spaces, report), cr3 in zip(told, cr3s, strict=True)]


def _is_told(spaces: Spaces, report: LogReport) -> bool:
    is_silent = report.ending is None and not report.records and not spaces.saw_interrupts
    return not is_silent and not is_reboot_of_firmware(report)


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
    if cpu.idt is not None and cpu.idt[1]:  # which it empties for that
        return False
    return place is not None and place in _BIOS and cpu.is_protected is not False and cpu.has_paging is not True and not cpu.cpl


def _of_boot(spaces: Spaces, planned: int | None) -> LogReport:
    if planned is not None:
        excerpt = spaces.under(planned)
        if excerpt is not None:
            return _of_space(spaces, excerpt)
    last = spaces.last()
    excerpt = None if last is None else spaces.under(last)
    if last is None or excerpt is None:
        absent = Message("the log holds no exception")
        if planned is not None:
            absent = message("CR3={cr3} never stands in the log", cr3=Hex(planned))
        return LogReport(notes=(absent,), saw_interrupts=spaces.saw_interrupts)
    report = _of_space(spaces, excerpt)
    if planned is None:
        return report
    # It died under another CR3 than planned; firmware that handles exceptions by itself is no news.
    template = "CR3={cr3} never stands in the log; this happened under CR3={last}"
    note = message(template, cr3=Hex(planned), last=Hex(last))
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
    first, end = early[0], late[-1]
    counted: Count | None = None
    raging: Repetition | None = None
    records = max(end.number - first.number + 1, len(early))
    stormy = fatal_storm(excerpt)
    if stormy is not None:
        lead, storm = stormy
        after = late[storm_end(late, storm) :]
        repeated = [r for r in late if r.identity == storm.identity] or [storm]
        row = with_origin(excerpt, [*lead, storm], None)  # the end is that of the last one
        of_last = tuple(happened_in([repeated[-1], *after], excerpt.end))
        raging = Repetition(storm, repeated[-1], repeated[-1].number - storm.number + 1, of_last)
        ending: Ending | None = Ending.STORM
        fatal = lead[0] if lead else storm
    else:
        reported = [record for record in known if record.reported_by]
        own = [record for record in known if record.may_share_cpu(end)]
        row = with_origin(excerpt, reported[:1] or last_chain(own), excerpt.end)
        fatal = reported[0] if reported else known[origin_of(known, len(known) - 1)]
        counted = spaces.count(excerpt, first, end)
        records = counted.records if counted.exceptions is None else max(counted.exceptions, len(early))
        ending = _ending(excerpt, row)
    if ending is None:
        handled = message("{counted:handled}", counted=counted) if counted is not None else None
        return LogReport(
            records=records, counted=counted, switch_offset=excerpt.place, notes=_notes(excerpt, first),
            exceptions=tuple(record.fault for record in early), detail=handled,
        )  # fmt: skip
    origin = row[0].record
    if ending is Ending.DELIVERED:
        fatal = next(happened.record for happened in row if happened.record.is_exception)
    earlier = _earlier_words(spaces, excerpt, known, row)
    is_headline = origin.vector < FIRST_INTERRUPT and origin.kind is not Kind.INTERRUPT
    exceptions = (happened.record for happened in row if happened.record.is_exception)
    return LogReport(
        first=origin.fault if is_headline else next(exceptions).fault,
        storm=raging,
        is_shutdown=isinstance(excerpt.end, TripleFault),
        ending=ending,
        records=records + (not origin.is_exception),
        counted=counted,
        switch_offset=excerpt.place,
        exceptions=tuple(record.fault for record in early),
        notes=_notes(excerpt, origin),
        earlier=earlier,
        fatal=fatal.fault,
        detail=_detail(excerpt, death_of(row, stormy is not None), origin.said),
        followed=tuple(dict.fromkeys(happened.record.fault for happened in row[1:])),
        events=tuple(row),
        dump=origin.cpu,
        is_routine=ending is Ending.DELIVERED and _is_routine(excerpt, known, origin),
    )


def _detail(excerpt: Excerpt, death: Death | None, said: str) -> Message | None:
    if isinstance(excerpt.end, Stopped):
        return message("{stopped}", stopped=excerpt.end)
    if death is None:
        return message("{said}", said=said) if said else None
    return message("{death}; {said}", death=death, said=said) if said else message("{death}", death=death)


def _earlier_words(
    spaces: Spaces, excerpt: Excerpt, known: Sequence[InterruptRecord], row: Sequence[Happened]
) -> tuple[Message, ...]:
    """What came before the fatal one."""
    first, origin = excerpt.early[0], row[0].record
    fatal = next((happened.record for happened in row if happened.record.is_exception), first)
    if fatal.offset <= first.offset:
        return ()
    own = next((record for record in known if record.offset == fatal.offset), None)
    if own is not None:
        before = spaces.count(excerpt, first, own).without_last
    else:  # it was raised under another CR3
        before = spaces.count(excerpt, first, max((one for one in known if one.offset < fatal.offset), key=lambda one: one.offset))
    if not before.exceptions and before.exceptions is not None:
        return ()
    template = "{before} came first and were handled; fatal: {fatal}"
    if not _is_behind(excerpt, known, origin):
        template = "{before} came first (whether the last of them was handled is not known); fatal: {fatal}"
    if before.exceptions == 1:
        template = template.replace("were", "was").replace("the last of them", "it")
    return (message(template, before=before, fatal=origin),)


def _is_behind(excerpt: Excerpt, known: Sequence[InterruptRecord], origin: InterruptRecord) -> bool:
    """Whether the guest was out of the handlers of all exceptions before ``origin``."""
    recent = [*excerpt.recent(origin)] or _before(known, origin)
    return all(is_over(each, origin if each[0].may_share_cpu(origin) else None) for each in by_task(recent))


def _ending(excerpt: Excerpt, row: Sequence[Happened]) -> Ending | None:
    """Of a boot without a storm: the last exception decides."""
    if isinstance(excerpt.end, TripleFault):
        return Ending.TRIPLE_FAULT
    if isinstance(excerpt.end, Stopped):
        return Ending.STOPPED
    if row[0].record.reported_by:  # who says so cannot mend it, and later ones follow from it
        return Ending.HANDLED
    return None if went_on(row[0].record, excerpt.after) else Ending.DELIVERED


def _is_routine(excerpt: Excerpt, known: Sequence[InterruptRecord], origin: InterruptRecord) -> bool:
    """Whether exceptions of the same kind were survived before, in this address space or in another."""
    if not origin.is_exception:
        return False
    return survived_alike(_before(known, origin), origin) or survived_alike(excerpt.recent(origin), origin)


def _before(records: Sequence[InterruptRecord], one: InterruptRecord) -> list[InterruptRecord]:
    return [record for record in records if record.offset < one.offset]


def _notes(excerpt: Excerpt, origin: InterruptRecord) -> tuple[str | Message, ...]:
    cut = () if excerpt.cut is None else (message("the last record is cut short, at byte {offset}", offset=excerpt.cut),)
    return (*origin.remarks, *cut)
