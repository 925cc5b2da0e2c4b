"""The log of Bochs, and what it writes on its console."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.signs import BOCHS_PANIC


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.emulators.bochs import events_of_bochs  # most logs are none of these

    return events_of_bochs(log)


FORMAT = Format("Bochs' log", _events, (b"[CPU0 ", b"[CPU  ]", b"exception(): 3rd ", *BOCHS_PANIC))
