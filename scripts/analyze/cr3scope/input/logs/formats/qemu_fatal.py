"""QEMU that gives up by itself."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.log_report import QEMUS_LAST_WORDS
from cr3scope.input.logs.signs import FATAL, TRYING


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.emulators.qemu_fatal import events_of_qemu_fatal  # most logs are none of these

    return events_of_qemu_fatal(log)


FORMAT = Format(QEMUS_LAST_WORDS, _events, (TRYING, FATAL))
