"""The exception screens that edk2 firmware prints on the serial port: one or several, of several boots too."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event, Reset
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.pieces import MOST_REPORTS, places
from cr3scope.input.logs.signs import SCREENS
from cr3scope.input.logs.screen import LONGEST, read_screens

_BOOT = b"BdsDxe: loading Boot"  # after a screen the firmware stands: it says so in the next boot


def events_of_screens(log: LogFile) -> Iterator[Event]:
    """Yield the exceptions that the screens tell of, and the resets between them."""
    before: int | None = None
    for number, place in enumerate(places(log, SCREENS)):
        if number == MOST_REPORTS:
            return
        booted = log.find(_BOOT, before, place) if before is not None else -1
        if booted >= 0:
            yield Reset(booted)
        before = place
        text = log.read(place, LONGEST)
        yield from (record for record in read_screens(text, place) if record.offset == place)
