"""The address spaces of a log that is read once, as a stream of events: of each the first ones and the last are kept.

For formats whose lines must be read one by one. What a format leaves out is filled in here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from cr3scope.input.logs import chain
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import Event, InterruptRecord, Loaded, TripleFault
from cr3scope.input.logs.log_format import Story
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.observe import KEPT, Excerpt, report_on
from cr3scope.input.logs.same_cpu import by_task, of_one_cpu
from cr3scope.input.logs.switched import Switch
from cr3scope.x86.exceptions import DOUBLE_FAULT
from cr3scope.x86.mov_cr3 import NO_FLUSH

_LATE = 2 * KEPT
_MOST_SPACES = 64  # an operating system that runs has no end of CR3 values
_AT_RESET = 0  # CR3 (SDM 3A, table 11-1)

Events = Callable[[LogFile], Iterator[Event]]


def stories(events: Events, source: str) -> Callable[[LogFile, int | None], Story]:
    """Return what makes the story of a log from its events. ``source``: what a verdict calls such a log."""

    def story(log: LogFile, cr3: int | None) -> Story:
        spaces = StreamedSpaces(events(log), cr3)
        report = replace(report_on(spaces, cr3), source=source)
        if report.ending is not None:
            return Story(report)
        end = spaces.end
        if end is None:
            return Story(report, tells_nothing="the log holds no exception, no interrupt and no load of CR3")
        if isinstance(end, TripleFault):
            return Story(report, reset="triple fault, with no exception before it")
        return Story(report, last=_words(end), last_rip=end.rip if isinstance(end, InterruptRecord) else None)

    return story


class StreamedSpaces:
    """The address spaces of one log, which is read once. ``planned`` is kept however many others there are."""

    def __init__(self, events: Iterable[Event], planned: int | None = None) -> None:
        self._spaces: dict[int, _Space] = {}  # the one in force last is the last one
        self._last: int | None = None
        self._after: deque[_Told] = deque(maxlen=KEPT)  # the last interrupts
        self.saw_interrupts = False
        self.end: Event | None = None
        self._read(events, None if planned is None else planned & ~NO_FLUSH)

    def last(self) -> int | None:
        """Return the CR3 of the last exception that was raised on its own account."""
        return self._last

    def under(self, cr3: int) -> Excerpt | None:
        """Return what happened under ``cr3``; None if no event was."""
        space = self._spaces.get(cr3)
        return None if space is None else space.excerpt(self._after)

    def cpu(self, _excerpt: Excerpt) -> str:
        """Return nothing: which CPU it was, events do not tell."""
        return ""

    def count(self, excerpt: Excerpt, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return the exceptions of the excerpt's address space, and the interrupts of all, from ``first`` to ``last``."""
        return self._spaces[excerpt.switch.cr3].count(first, last)

    def _read(self, events: Iterable[Event], planned: int | None) -> None:
        loaded, cr3, vector, before = _AT_RESET, None, None, None
        space: _Space | None = None
        interrupts = 0
        for count, event in enumerate(events):
            self.end = event
            if isinstance(event, TripleFault):
                for one in self._spaces.values():
                    one.reset(self._after, is_dead=before is not None and one.ends_with(before))
                continue
            if isinstance(event, Loaded):
                loaded = event.cr3 & ~NO_FLUSH
            now = loaded if isinstance(event, Loaded) or event.cr3 is None else event.cr3
            if now != cr3 or space is None:
                space = self._spaces.pop(now, None) or _Space(Switch(now, cr3, event.offset))
                self._spaces[now] = space
                cr3 = now
                if len(self._spaces) > _MOST_SPACES:
                    del self._spaces[next(one for one in self._spaces if one != planned)]
            if isinstance(event, Loaded):
                continue
            self.saw_interrupts = True
            if event.is_exception:
                if event.vector == DOUBLE_FAULT and event.old is None:
                    event = replace(event, old=vector)
                told = _Told(event, now, count, interrupts)
                space.take(told, before)
                vector = event.vector
                if not chain.is_delivery(event):
                    self._last = now
            else:
                interrupts += 1
                told = _Told(event, now, count, interrupts)
                self._after.append(told)
            before = told


class _Told(NamedTuple):
    """A record, the CR3 in force, its place among all events, and how many interrupts there were up to it."""

    record: InterruptRecord
    cr3: int
    at: int
    interrupts: int

    def whole(self) -> InterruptRecord:
        """Return the record with its CR3."""
        return replace(self.record, cr3=self.cr3)


class _Space:
    """What is kept of one address space while the events go by."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._early: list[_Told] = []
        self._late: deque[_Told] = deque(maxlen=_LATE)
        self._before: _Told | None = None  # the record right before the first exception
        self._after: tuple[InterruptRecord, ...] | None = None  # None until a reset
        self._exceptions = 0
        self._place = 0  # of the last exception among all events
        self._is_dead = False

    def take(self, told: _Told, before: _Told | None) -> None:
        """Take the next exception; ``before`` is the record before it."""
        if not self._early:
            self._before = before
        if len(self._early) < KEPT:
            self._early.append(told)
        self._late.append(told)
        self._exceptions += 1
        self._place, self._is_dead, self._after = told.at, False, None

    def ends_with(self, told: _Told) -> bool:
        """Return whether the last exception is this record."""
        return bool(self._late) and self._place == told.at

    def reset(self, interrupts: Iterable[_Told], is_dead: bool) -> None:
        """Take that the machine was reset."""
        if self._after is None:
            self._after, self._is_dead = self._since(interrupts), is_dead

    def excerpt(self, interrupts: Iterable[_Told]) -> Excerpt:
        """Return what was kept; ``interrupts``: the last ones of all."""
        switch = self._switch
        if not self._early:
            return Excerpt(switch, place=switch.offset)
        early = _numbered(self._early, 0)
        late = _numbered(self._late, self._first_late)
        dead = late[-1] if self._is_dead else None
        others = len(by_task(late)) > 1
        early, late = of_one_cpu(early, late, lambda record: record is dead)
        return Excerpt(
            switch, early, late, self._before.whole() if self._before else None,
            self._since(interrupts) if self._after is None else self._after, late[-1] is dead,
            records=self._exceptions if others else None, place=switch.offset,
        )  # fmt: skip

    def count(self, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return what comes from ``first`` to ``last``, two of the excerpt's exceptions, both included."""
        exceptions = last.number - first.number + 1
        interrupts = self._told(last).interrupts - self._told(first).interrupts
        return Count(exceptions + interrupts, exceptions, interrupts)

    @property
    def _first_late(self) -> int:
        """The number of the first one in ``_late``."""
        return self._exceptions - len(self._late)

    def _told(self, record: InterruptRecord) -> _Told:
        """The event of an exception that the excerpt holds."""
        number = record.number
        return self._early[number] if number < len(self._early) else self._late[number - self._first_late]

    def _since(self, interrupts: Iterable[_Told]) -> tuple[InterruptRecord, ...]:
        return tuple(told.whole() for told in interrupts if told.at > self._place)


def _numbered(told: Iterable[_Told], first: int) -> list[InterruptRecord]:
    return [replace(one.record, number=number, cr3=one.cr3) for number, one in enumerate(told, first)]


def _words(end: InterruptRecord | Loaded) -> str:
    if isinstance(end, Loaded):
        return f"CR3={end.cr3:#x} was loaded"
    return chain.title(end) if end.is_exception else f"interrupt {end.vector:#x} at RIP={end.rip:#x}"
