"""A kernel's panic in no form that is known: the exception and the registers by the names that nearly all give them."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.signs import OWN, OWN_BY


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.guests.own_words import events_of_own_words  # most logs are none of these

    return events_of_own_words(log)


FORMAT = Format(OWN_BY, _events, OWN, is_guess=True)
