"""What a machine says on its console beside its trace: who gave up, and of what exceptions somebody told."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.input.logs.event import Event, Stopped
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.logfile import LogFile, LogText
from cr3scope.input.logs.panic import first_panic
from cr3scope.input.logs.report import formats_of, story_in
from cr3scope.input.logs.screen import has_screen
from cr3scope.input.logs.signs import LINUX_BY, SCREEN_BY, XEN_BY
from cr3scope.x86.ending import Ending

CONSOLE = "the console"
_SPEAKERS = (LINUX_BY, XEN_BY, SCREEN_BY)  # whose words are heard at a console


def read_console(text: bytes) -> LogReport:
    """Return what a console says of one boot: nothing of a form that is only guessed."""
    with LogText(text, CONSOLE) as log:
        return told_at(log)


def dies_at(text: bytes) -> bool:
    """Return whether a kernel gave up at a console, or the firmware printed its screen."""
    with LogText(text, CONSOLE) as log:
        return first_panic(log) is not None or has_screen(log)


def told_at(log: LogFile, cr3: int | None = None) -> LogReport:
    """Return the same of a console that was kept in a file. ``cr3``: that of the switch, if a capture tells."""
    formats, shows = formats_of(log, may_guess=False), has_screen(log)
    formats = [one for one in formats if shows or one.source != SCREEN_BY]
    report = story_in(log, formats, cr3, is_no_panic).report if formats else LogReport()
    return replace(report, panic=first_panic(log), has_screen=shows)


def is_console(report: LogReport) -> bool:
    """Return whether a log is what somebody said at a console."""
    return any(speaker in report.source for speaker in _SPEAKERS)


def with_console(log: LogReport | None, said: LogReport) -> LogReport | None:
    """Return what a log tells of a boot together with what is said at the console; None if neither tells of an exception.

    Who watched the machine knows best what it survived. Behind the firmware's screen it survives nothing.
    """
    told = said if said.ending is not None else None
    if log is None or told is None:
        return log or told
    if not (said.has_screen or said.is_last) or log.ending in (Ending.TRIPLE_FAULT, Ending.STORM, Ending.STOPPED):
        return log
    first, shown = log.first, said.first
    if first is None or shown is None or (first.vector, first.rip) != (shown.vector, shown.rip):
        return said
    return replace(log, ending=Ending.HANDLED, has_screen=said.has_screen, is_last=said.is_last)


def is_no_panic(event: Event) -> bool:
    """Return whether an event is no kernel's words that it gives up: of these the place on their line decides."""
    return not (isinstance(event, Stopped) and event.by_guest)
