"""The log of QEMU's ``-d int,cpu_reset``. Items of other ``-d`` may stand in it, and before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.event import Event, InterruptRecord, Kind, TripleFault
from cr3scope.input.logs.int_log.boots import STRUCK, TRIPLE_FAULT, UNDELIVERED, boots_of
from cr3scope.input.logs.int_log.last_seen import last_seen, restart
from cr3scope.input.logs.int_log.record import LONGEST_NUMBER, MAX_RECORD, RECORD, RESET, may_be_exception, read_records, read_reset
from cr3scope.input.logs.int_log.spaces import IntLogSpaces
from cr3scope.input.logs.log_format import MOST_BYTES, Format, Story
from cr3scope.input.logs.logfile import LogFile, LogPart
from cr3scope.input.logs.log_report import INTERRUPT_LOG, LogReport
from cr3scope.input.logs.observe import RESET_BY_BIOS, is_reboot_of_firmware, is_reset_of_firmware, report_on, reports_by_boot
from cr3scope.input.logs.stream import story_of
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.x86.ending import Ending

_END_BYTES = 64 << 10
_MOST_NAMED = 8
_SERVICED = re.compile(rb"Servicing hardware INT=0x([0-9a-f]{2})")
_HEADS = (
    "the log holds the first lines of records alone, without registers: which gates and tables the CPU had, and whether"
    " it was in long mode, it does not tell"
)
_ANY_OF_TWO = (
    "whether the last record, at byte {offset}, is {vector} or an interrupt of a device, the log does not tell: no line announces"
    " it"
)
_MAY_BE_IN_IT = (
    "whether the guest was out of {vector}, at byte {offset}, the log does not tell: no line announces it, and the record behind"
    " it, the last one, is of the same place"
)
_ZEROS = bytes(16)  # no text holds so many
_HOLE = "from byte {offset} on the log holds zeros: what stood there is lost"
_ESCAPE = b"\x1b["
_COLOUR = re.compile(rb"\x1b\[[0-9;]{0,20}[A-Za-z]")
_OF_EVENTS = (b"pc=", b"SP=", b"old", b"new", b"Triple", b"fault")  # at least one of them, wherever the colours are
_COLOURED = "the line at byte {offset} tells of an exception and is coloured within, so that it cannot be read: take the log without colours (grep --color=never)"
_SIGNS = (RECORD, b"check_exception old: ", b"CPU Reset (CPU ", b"Servicing hardware ", b"SMM: ")


def observe(path: Path, cr3: int | None = None) -> LogReport:
    """Return what the log of one boot says; without ``cr3`` that of the last chain of exceptions is taken.

    UnusableInput if the file cannot be read or is no such log.
    """
    with LogFile(Path(path)) as log:
        if not log.size:
            raise UnusableInput(f"{path}: empty: QEMU wrote no interrupt log (-d int,cpu_reset)")
        if not FORMAT.is_in(log):
            raise UnusableInput(f"{path}: not a QEMU `-d int` log: it holds no interrupt record")
        boots = boots_of(log)
        report = report_on([IntLogSpaces(part) for part in boots], cr3)
        if is_reboot_of_firmware(report):
            return _reset_by_bios(report)
        is_by_bios = report.ending is None and len(boots) > 1 and is_reboot_of_firmware(report_on([IntLogSpaces(boots[-1])]))
        if not is_by_bios:
            return report
        return _reset_by_bios(report) if report.switch_offset is None else replace(report, is_by_bios=True)


def by_boot(log: LogFile, planned: Sequence[int | None]) -> list[LogReport] | None:
    """Return what the log says of each boot; None if it is no such log, or tells of fewer or more than ``planned``."""
    return reports_by_boot([IntLogSpaces(part) for part in boots_of(log)], planned) if FORMAT.is_in(log) else None


def _story(log: LogFile, cr3: int | None) -> Story:
    report = report_on([IntLogSpaces(part) for part in boots_of(log)], cr3)
    if cr3 is None and is_reboot_of_firmware(report):  # and no boot before it died
        return Story(_reset_by_bios(report), reset=RESET_BY_BIOS)
    if report.ending is not None and not report.is_routine:
        return Story(report)
    if cr3 is None and (report.first is None or report.is_routine):
        pieces = _without_registers(log) if not report.records else None
        if pieces is not None:
            return pieces
        died = _died_without_a_record(log, report)
        if died is not None:
            return Story(died)
    if report.ending is not None:
        return Story(report)
    again = restart(log)
    reset: str | Message = "" if again is None else message("the machine was reset without an exception: {dump}", dump=again)
    if again is None and cr3 is None and _is_reboot_of_firmware(boots_of(log)[-1]):
        report, reset = replace(report, is_by_bios=True), RESET_BY_BIOS
    silent = _torn(log) or _hole(log) or _coloured(log) or ("" if log.find(RECORD) >= 0 else _silence(log))
    last, rip = last_seen(log)
    return Story(report, last, rip, reset, tells_nothing=silent, last_interrupt=_last_interrupt(log))


def _reset_by_bios(report: LogReport) -> LogReport:
    """What is left of a report on the firmware's own INT3: no exception of the guest's."""
    return LogReport(saw_interrupts=True, boots=report.boots, is_by_bios=True)


def _is_reboot_of_firmware(part: LogPart) -> bool:
    """Whether a boot is SeaBIOS's, which resets the machine; records without the lines that announce them tell it as well."""
    told = (report_on([IntLogSpaces(part)]), story_of(_events(part, part.first), None, INTERRUPT_LOG).report)
    return any(is_reboot_of_firmware(report) for report in told)


def _last_interrupt(log: LogFile) -> InterruptRecord | None:
    """The interrupt of a device after which the log tells of no other event."""
    start = max(log.rfind(RECORD, 0, log.size) - MAX_RECORD, 0)
    data = log.read(start, 2 * MAX_RECORD)
    last = None
    for last in read_records(data, start):
        pass
    if last is None or last.kind is not Kind.INTERRUPT or data.find(RESET, last.offset - start) >= 0:
        return None
    return last


def _without_registers(log: LogFile) -> Story | None:
    """What a log tells whose records have lost their registers, or of which the first one is cut; None of any other."""
    if log.find(RECORD) < 0:
        return None
    told = [story_of(_events(part, part.first), None, INTERRUPT_LOG) for part in reversed(boots_of(log))]
    told = [story for story in told if story.report.events and not is_reboot_of_firmware(story.report)]
    if not told:
        return None
    story = next((story for story in told if story.report.ending is not None and not story.report.is_routine), told[0])
    last = story.report.events[-1].record
    if last.is_whole:
        return story
    cut = message("the log is cut short in this record, at byte {offset}", offset=last.offset)
    words = cut if _is_last_line(log, last) else _HEADS
    return replace(story, report=replace(story.report, notes=(*story.report.notes, words)))


def _is_last_line(log: LogFile, record: InterruptRecord) -> bool:
    """Whether the log ends in the registers of a record, of which some are there."""
    return b"=" in log.read(record.offset, MAX_RECORD).partition(b"\n")[2]


def _died_without_a_record(log: LogFile, report: LogReport) -> LogReport | None:
    """A triple fault of which the log holds nothing but the word, and the registers at the reset; None if it holds no word.

    Records there may be, if the lines are missing that announce them: then they are taken for interrupts.

    ``report``: on the boots of which the log holds more.
    """
    last = None
    boots = report.boots if report.records or report.saw_interrupts or report.ending is not None else 0
    for part in boots_of(log):
        has_records = part.find(RECORD) >= 0
        if has_records and report.ending is not None:  # which is judged by that
            continue
        start = max(part.first, part.size - _END_BYTES)
        ends = [end for end in _ends_in(log.read(start, part.size - start), start) if not is_reset_of_firmware(end.cpu)]
        if ends and has_records and report_on([IntLogSpaces(part)]).ending is not None:
            continue  # the firmware's own reset; of any other the report would be
        boots += bool(ends) and not IntLogSpaces(part).saw_interrupts  # else it is one of the report's
        for end in ends:
            if last is None or end.cpu.rip is not None or last.cpu.rip is None:
                last = end
    if last is None:
        return None
    return LogReport(ending=Ending.TRIPLE_FAULT, detail=message("{end}", end=last), dump=last.cpu, boots=boots, source=INTERRUPT_LOG)


def _ends_in(data: bytes, base: int) -> Iterator[TripleFault]:
    for sign in (UNDELIVERED, TRIPLE_FAULT):
        place = data.find(sign)
        while place >= 0:
            struck = STRUCK.match(data, place)
            yield TripleFault(base + place, int(struck[1], 16) if struck else None, read_reset(data, place))
            place = data.find(sign, place + 1)


def _silence(log: LogFile) -> str | Message:
    """Why a log without a record tells nothing."""
    vectors: list[int] = []
    for match in _SERVICED.finditer(log.read(max(log.size - _END_BYTES, 0), _END_BYTES)):
        vectors += [int(match[1], 16)] if int(match[1], 16) not in vectors else []
    if not vectors:
        return _SILENT
    came = tuple(Hex(vector) for vector in sorted(vectors)[:_MOST_NAMED])
    return message("real mode: interrupts came ({came}), and of exceptions there QEMU logs none", came=came)


def _events(log: LogFile | LogPart, first: int = 0) -> Iterator[Event]:
    """Of a log that is of other formats as well: a paste, of which the first megabytes are read, from the byte ``first`` on."""
    data = log.read(first, MOST_BYTES)
    found: list[Event] = [*read_records(data, first), *_ends_in(data, first)]
    yield from sorted(found, key=lambda event: event.offset)


_SILENT = (
    "the log holds resets and no interrupt or exception at all: QEMU logs none under KVM (use"
    " -accel tcg), and a guest that ends early or hangs with interrupts off takes none"
)


def _torn(log: LogFile) -> str | Message:
    """What to say of a log that ends in an exception, so that nobody knows what came of it."""
    head = log.rfind(RECORD)
    if head >= 0 and not _is_read(log, head):
        return message("the first line of the last record cannot be read, at byte {head}: what came, it does not tell", head=head)
    before, last = _last_records(log)
    announced = log.rfind(b"check_exception", max(log.size - 2 * MAX_RECORD, 0))
    if announced >= 0 and (last is None or announced > last.offset):
        return message("the log ends at byte {size}, before the record of an exception", size=log.size)
    if last is not None and may_be_exception(log.read(max(last.offset - MAX_RECORD, 0), 2 * MAX_RECORD), last):
        return message(_ANY_OF_TWO, offset=last.offset, vector=Vector(last.vector))
    if before is not None and last is not None and _is_in_its_place(before, last):
        return message(_MAY_BE_IN_IT, vector=Vector(before.vector), offset=before.offset)
    if last is not None and last.is_exception and not last.is_whole:
        return message("the log is cut short in the record of an exception, at byte {offset}", offset=last.offset)
    return ""


def _coloured(log: LogFile) -> str | Message:
    """What to say of a log in which a terminal's colours hide an event, as grep puts them around what it has found."""
    start = log.find(_ESCAPE)
    for at, line in log.lines(start) if start >= 0 else ():
        if _ESCAPE in line and any(word in line for word in _OF_EVENTS) and _events_in(_COLOUR.sub(b"", line)) != _events_in(line):
            return message(_COLOURED, offset=at)
    return ""


def _events_in(line: bytes) -> tuple[int, ...]:
    """How many events of each kind a line tells of."""
    return (len(list(read_records(line + b"\n"))), line.count(b"check_exception old: 0x"), line.count(TRIPLE_FAULT))


def _hole(log: LogFile) -> str | Message:
    """What to say of a log of which a part was lost: blocks that were never written, or half of a UTF-16 character, behind which
    all is read as zeros. Those that come before its text are what was thrown away when somebody emptied it."""
    begin = next((at + len(line) - len(line.lstrip(b"\0")) for at, line in log.lines() if line.strip(b"\0")), log.size)
    zeros = log.find(_ZEROS, begin)
    return message(_HOLE, offset=zeros) if zeros >= 0 else ""


def _is_read(log: LogFile, head: int) -> bool:
    """Whether a record is read from the first line at this place."""
    start = max(head - LONGEST_NUMBER, 0)
    first = next(read_records(log.read(start, MAX_RECORD), start), None)
    return first is not None and first.offset < head


def _last_records(log: LogFile) -> tuple[InterruptRecord | None, InterruptRecord | None]:
    """The last two records at the end of the log."""
    start = max(log.size - 3 * MAX_RECORD, 0)
    before = last = None
    for record in read_records(log.read(start, log.size - start), start):
        before, last = last, record
    if last is not None and last.offset < log.size - 2 * MAX_RECORD:
        return None, None
    return before, last


def _is_in_its_place(before: InterruptRecord, last: InterruptRecord) -> bool:
    """Whether nothing ran between an exception without its announcement and what is taken for an interrupt."""
    is_alone = before.is_exception and before.old is None and not last.is_exception
    return is_alone and (before.rip, before.rsp, before.cr3) == (last.rip, last.rsp, last.cr3)


FORMAT = Format(INTERRUPT_LOG, _events, _SIGNS, _story)
