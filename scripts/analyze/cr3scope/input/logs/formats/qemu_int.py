"""The log of QEMU's ``-d int,cpu_reset``. Items of other ``-d`` may stand in it, and before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.int_log.last_seen import last_seen, restart
from cr3scope.input.logs.int_log.record import MAX_RECORD, RECORD, read_records
from cr3scope.input.logs.int_log.spaces import IntLogSpaces
from cr3scope.input.logs.log_format import Format, Story
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.observe import LogReport, report_on
from cr3scope.input.logs.screen import screen_report
from cr3scope.x86.ending import Ending

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
        return report_on(IntLogSpaces(log), cr3)


def _story(log: LogFile, cr3: int | None) -> Story:
    report = report_on(IntLogSpaces(log), cr3)
    if report.first is None and report.ending is None:
        shown = screen_report(log)
        if shown is not None:
            return Story(shown)
    if report.ending is not None:
        return Story(report)
    torn = _torn(log)
    if torn and report.first is None:
        report = _cut_report(log, report)
        if report.ending is not None:
            return Story(report)
    again = restart(log)
    reset = "" if again is None else f"the machine was reset without an exception: {again.words()}"
    silent = torn or ("" if log.find(RECORD) >= 0 else _SILENT)
    last, rip = last_seen(log)
    return Story(report, last, rip, reset, silent)


_SILENT = (
    "the log holds resets and no interrupt or exception at all: QEMU logs none under KVM (use"
    " -accel tcg), and a guest that ends early or hangs with interrupts off takes none"
)


def _torn(log: LogFile) -> str:
    """Words for a log that ends in an exception, so that nobody knows what came of it."""
    last = _last_record(log)
    announced = log.rfind(b"check_exception", max(log.size - 2 * MAX_RECORD, 0))
    if announced >= 0 and (last is None or announced > last.offset):
        return f"the log ends at byte {log.size}, before the record of an exception"
    if last is not None and last.is_exception and last.cr3 is None:
        return f"the log is cut short in the record of an exception, at byte {last.offset}"
    return ""


def _last_record(log: LogFile) -> InterruptRecord | None:
    start = max(log.size - 2 * MAX_RECORD, 0)
    last = None
    for record in read_records(log.read(start, log.size - start), start):
        last = record
    return last


def _cut_report(log: LogFile, report: LogReport) -> LogReport:
    """With the exception whose record is cut, if its first line is there."""
    last = _last_record(log)
    if last is None or not last.is_exception or last.cr3 is not None:
        return report
    note = f"the log is cut short in this record, at byte {last.offset}"
    return replace(
        report, first=last.fault, ending=Ending.HANDLED, records=1, notes=(*report.notes, note)
    )


FORMAT = Format(_story, signs=_SIGNS)
