"""Where ranges lie by the tables that are in force, whatever was told of their frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from cr3scope.input.capture.records import MapRecord, SegmentRecord
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.entry import PAGE_BYTES

_Range = TypeVar("_Range", MapRecord, SegmentRecord)
_MOST_PAGES = 1 << 14  # of one range


def as_mapped(now: StoppedCpu, ranges: Iterable[_Range]) -> list[_Range]:
    """Return the ranges that lie in one piece of memory by the tables of ``now``, with their frames there."""
    return [replace(one, phys=phys) for one in ranges if (phys := _frames(now, one.virt, one.last)) is not None]


def moved(now: StoppedCpu, ranges: Iterable[MapRecord]) -> list[MapRecord]:
    """Return all ranges; those of which the tables of ``now`` map no page into their own memory with their frames there."""
    return [_moved(now, one) for one in ranges]


def _moved(now: StoppedCpu, one: MapRecord) -> MapRecord:
    phys = _frames(now, one.virt, one.last)
    is_elsewhere = phys is not None and abs(phys - one.phys) > one.last - one.virt
    return replace(one, phys=phys) if phys is not None and is_elsewhere else one


def _frames(now: StoppedCpu, first: int, last: int) -> int | None:
    """Where a range lies, if that is one piece: walked once for each page that maps it, of whatever size."""
    if last - first >= _MOST_PAGES * PAGE_BYTES:
        return None
    cpu, at = now.cpu, first
    begin = walk(now, cpu, first, now.platform).phys
    while at <= last:
        found = walk(now, cpu, at, now.platform)
        if begin is None or found.phys != begin + at - first:
            return None
        at = (at | found.page_size - 1) + 1
    return begin
