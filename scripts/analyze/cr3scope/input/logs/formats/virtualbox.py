"""VirtualBox's ``VBox.log``."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.emulators.virtualbox import events_of_virtualbox  # most logs are none of these

    return events_of_virtualbox(log)


FORMAT = Format("VirtualBox's log", _events, (b"Guru Meditation ", b"Guest CPUM (VCPU "))
