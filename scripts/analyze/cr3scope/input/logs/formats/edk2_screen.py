"""The exception screens that edk2 firmware prints on the serial port: one or several, of several boots too."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.signs import SCREEN_BY, SCREENS


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.guests.edk2_screen import events_of_screens  # most logs are none of these

    return events_of_screens(log)


FORMAT = Format(SCREEN_BY, _events, SCREENS)
