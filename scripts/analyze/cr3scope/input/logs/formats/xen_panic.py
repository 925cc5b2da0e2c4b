"""What Xen prints when it panics or crashes a domain: registers, a page walk, the exception (xen/arch/x86/traps.c)."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile

BY = "Xen's own report"
SIGNS = (
    b"----[ Xen-", b"Pagetable walk from ", b"FATAL PAGE FAULT", b"FATAL TRAP: vec", b"Panic on CPU ", b"fault/trap [#",
    b"Unhandled: vec ",
)  # fmt: skip


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.guests.xen_panic import events_of_xen  # most logs are none of these

    return events_of_xen(log)


FORMAT = Format(BY, _events, SIGNS)
