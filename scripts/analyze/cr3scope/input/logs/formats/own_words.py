"""A kernel's panic in no form that is known: the exception and the registers by the names that nearly all give them."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile

BY = "a kernel's own words"
SIGNS = (
    b"rip", b"RIP", b"Rip", b"eip", b"EIP", b"cr2", b"CR2", b"Cr2", b"instruction_pointer", b"nstruction pointer",
    b"nstruction Pointer",
)  # fmt: skip


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.guests.own_words import events_of_own_words  # most logs are none of these

    return events_of_own_words(log)


FORMAT = Format(BY, _events, SIGNS, is_guess=True)
