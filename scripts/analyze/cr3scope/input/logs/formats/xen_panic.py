"""What Xen prints when it panics or crashes a domain: registers, a page walk, the exception (xen/arch/x86/traps.c)."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.signs import XEN, XEN_BY


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.guests.xen_panic import events_of_xen  # most logs are none of these

    return events_of_xen(log)


FORMAT = Format(XEN_BY, _events, XEN)
