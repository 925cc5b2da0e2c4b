"""What a text that somebody calls a log has to say: of QEMU, or of the firmware on a serial port."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.last_seen import last_seen, restart
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.observe import LogReport, is_interrupt_log, observe_log
from cr3scope.input.logs.record import MAX_RECORD, InterruptRecord, read_records
from cr3scope.input.logs.screen import SCREEN, apic_id, read_screen
from cr3scope.x86.ending import Ending

_CAPTURE = b"@c3s"
RECORD = b": v="
_SCREEN_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Story:
    """The report, and what a log without a fault still tells."""

    report: LogReport = field(default_factory=LogReport)
    last: str = ""  # what the guest was doing when last seen, in words
    last_rip: int | None = None
    reset: str = ""  # a reset that no exception explains, in words
    tells_nothing: str = ""  # why nothing can be judged


def read_story(log: LogFile, cr3: int | None = None) -> Story:
    """Return what the log says. ``cr3``: that of the switch, if a capture tells. UnusableInput if it is no log.
    """
    if not log.size:
        raise UnusableInput(f"{log.name}: empty: QEMU wrote no interrupt log (-d int,cpu_reset)")
    if not is_interrupt_log(log):
        return _serial_story(log)
    report = observe_log(log, cr3)
    if report.first is None and report.ending is None:
        shown = _screen(log)
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


def _serial_story(log: LogFile) -> Story:
    shown = _screen(log)
    if shown is not None:
        return Story(shown)
    if log.find(_CAPTURE) >= 0:
        raise UnusableInput(
            f"{log.name}: a capture, not a `-d int` log: use `cr3scope analyze {log.name}`"
        )
    raise UnusableInput(
        f"{log.name}: not a QEMU `-d int` log: it holds no interrupt record, and no exception screen"
        " of the firmware"
    )


def _screen(log: LogFile) -> LogReport | None:
    place = log.find(SCREEN)
    text = log.read(place, _SCREEN_BYTES) if place >= 0 else b""
    first = read_screen(text)
    if first is None:
        return None
    cpu = apic_id(text)
    return LogReport(
        first=first,
        ending=Ending.HANDLED,
        records=1,
        source="the firmware's screen",
        cpu="" if cpu is None else f"the one with APIC id {cpu}",
    )
