"""The exception screen that edk2 firmware prints on the serial port (CpuExceptionHandlerLib)."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.screen import SCREEN, events_of_screen


def _events(log: LogFile) -> Iterator[Event]:
    place = log.find(SCREEN)
    if place >= 0:
        yield from events_of_screen(log, place)


FORMAT = Format("the firmware's screen", _events, (SCREEN,))
