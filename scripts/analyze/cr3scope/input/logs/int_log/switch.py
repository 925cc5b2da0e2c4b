"""Where in a log the new CR3 first stands, found by bisection where the log is large.

CR3 changes rarely: a boot has the firmware's, then the new one. The register dumps of system
management mode and a second boot break that order; then the log is searched from the start.
"""

from __future__ import annotations

import re

from cr3scope.input.logs.logfile import LogPart

_DUMPED = re.compile(rb"CR3=([0-9a-f]{8,16}) ")
_FROM_START = 8 << 20  # as quick as a bisection
_PROBE = 1 << 14
_MAX_PROBE = 1 << 24
_SAMPLES = 24
_UPDATE_REACH = 1 << 20  # other items of -d may fill the time between the switch and its fault


def spelled(cr3: int) -> tuple[bytes, ...]:
    """Return how a dump writes a CR3: 16 digits, or 8 before long mode."""
    wide = b"CR3=%016x " % cr3
    return (wide, b"CR3=%08x " % cr3) if cr3 < 1 << 32 else (wide,)


def first_with(log: LogPart, cr3: int) -> int | None:
    """Return the offset of the first dump with this CR3; None if there is none."""
    found = _search(log, cr3, 0, min(_FROM_START, log.size))
    if found is not None or log.size <= _FROM_START:
        return found
    bisected = _bisect(log, cr3, _FROM_START, log.size)
    if bisected is None or not _order_holds(log, cr3, bisected):
        return _search(log, cr3, _FROM_START, log.size)
    return bisected


def loaded_at(log: LogPart, cr3: int, place: int) -> int:
    """Return the offset of the `CR3 update` line (`-d mmu`) that led to the dump at ``place``; else ``place``.
    """
    start = max(place - _UPDATE_REACH, 0)
    updates = (b"CR3 update: CR3=%016x" % cr3, b"CR3 update: CR3=%08x" % cr3)
    found = max(log.rfind(update, start, place) for update in updates)
    return found if found >= 0 else place


def last_with(log: LogPart, cr3: int, first: int) -> int:
    """Return the offset of the last dump with this CR3 in the unbroken row that starts at ``first``."""
    if dumped_before(log, log.size) == cr3:
        return _search_back(log, cr3, first, log.size)
    low, high = first, log.size
    while high - low > _PROBE:
        middle = (low + high) // 2
        if dumped_after(log, middle) == cr3:
            low = middle
        else:
            high = middle
    return _search_back(log, cr3, first, high + _PROBE)


def last_from(log: LogPart, cr3: int, start: int) -> int:
    """Return the offset of the last dump with this CR3, of all after ``start``; ``start`` if there is none."""
    return _search_back(log, cr3, start, log.size)


def dumped_after(log: LogPart, offset: int) -> int | None:
    """Return the CR3 of the next register dump; None if there is none."""
    size = _PROBE
    while size <= _MAX_PROBE:
        match = _DUMPED.search(log.read(offset, size))
        if match:
            return int(match[1], 16)
        if offset + size >= log.size:
            break
        size *= 8
    return None


def dumped_before(log: LogPart, offset: int) -> int | None:
    """Return the CR3 of the last register dump before ``offset``; None if there is none."""
    for _ in range(_SAMPLES):
        offset = log.rfind(b"CR3=", 0, offset)
        if offset < 0:
            break
        match = _DUMPED.match(log.read(offset, 32))
        if match:
            return int(match[1], 16)
    return None


def _search(log: LogPart, cr3: int, start: int, end: int) -> int | None:
    first = None
    for word in spelled(cr3):
        place = log.find(word, start, end)
        if place >= 0:
            first, end = place, place
    return first


def _search_back(log: LogPart, cr3: int, start: int, end: int) -> int:
    for word in spelled(cr3):
        start = max(start, log.rfind(word, start, end))
    return start


def _bisect(log: LogPart, cr3: int, low: int, high: int) -> int | None:
    """``low``: before the switch. None if the log does not end with the new CR3."""
    if dumped_before(log, high) != cr3:
        return None
    while high - low > _PROBE:
        middle = (low + high) // 2
        if dumped_after(log, middle) == cr3:
            high = middle
        else:
            low = middle
    return _search(log, cr3, low, log.size)


def _order_holds(log: LogPart, cr3: int, switch: int) -> bool:
    """Samples before the switch must have another CR3, and samples after it this one."""
    for number in range(1, _SAMPLES):
        before = number * switch // _SAMPLES
        after = switch + number * (log.size - switch) // _SAMPLES
        if dumped_after(log, before) == cr3 and before < switch - _PROBE:
            return False
        if dumped_after(log, after) not in (cr3, None):
            return False
    return True
