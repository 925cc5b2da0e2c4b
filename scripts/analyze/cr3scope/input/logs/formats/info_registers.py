"""What QEMU's monitor answers to ``info registers``, pasted alone."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.emulators.info_registers import events_of_monitor  # most logs are none of these

    return events_of_monitor(log)


FORMAT = Format("QEMU's monitor", _events, (b" HLT=0", b" HLT=1"), is_guess=True)
