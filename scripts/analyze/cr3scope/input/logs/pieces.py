"""The parts of a log of any size that matter, by signs that stand in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.input.logs.logfile import WINDOW, LogFile

MOST_REPORTS = 256  # of one log
REPORT_BYTES = 16 << 10  # of one report, with its walk and its stack
_MOST_CLOSE = 4 << 20  # that are looked at closely: no more of a log is signs, unless somebody made it so


def places(log: LogFile, signs: Sequence[bytes]) -> Iterator[int]:
    """Yield the places of all signs in their order."""
    overlap = max(map(len, signs)) - 1
    start = 0
    while data := log.read(start, WINDOW + overlap):
        found = [at for sign in signs for at in _all(data, sign) if at < WINDOW]
        yield from (start + at for at in sorted(found))
        start += WINDOW


def regions(log: LogFile, signs: Sequence[bytes], before: int, reach: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of what is around the signs, from ``before`` bytes before one to ``reach`` behind the last.

    Signs that are nearer than ``reach`` to each other are in one region, but of very many, in several.
    """
    start = end = total = 0
    for place in places(log, signs):
        if end and (place - before > end or end - start > WINDOW):
            yield start, log.read(start, end - start)
            total += end - start
            start = end = max(end, place - before)
            if total > _MOST_CLOSE:
                return
        elif not end:
            start = max(place - before, 0)
        end = max(end, place + reach)
    if end > start:
        yield start, log.read(start, end - start)


def _all(data: bytes, sign: bytes) -> Iterator[int]:
    at = data.find(sign)
    while at >= 0:
        yield at
        at = data.find(sign, at + len(sign))
