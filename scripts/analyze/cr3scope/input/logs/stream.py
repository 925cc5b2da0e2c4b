"""The address spaces of a log that is read once, as a stream of events: of each the first ones and the last are kept.

For formats whose lines must be read one by one. What a format leaves out is filled in here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from cr3scope.input.logs.delivery import is_delivery
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import (
    Event, InterruptRecord, Kind, Loaded, Reset, Shown, Stopped, TripleFault, Walked, by_task,
)  # fmt: skip
from cr3scope.input.logs.log_format import Story
from cr3scope.input.logs.log_report import KEPT, MOST_BOOTS, Excerpt, LogReport, WhichCpu
from cr3scope.input.logs.observe import report_on
from cr3scope.input.logs.same_cpu import of_one_cpu
from cr3scope.input.logs.switched import Switch
from cr3scope.message import Hex, Message, message
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import DOUBLE_FAULT
from cr3scope.x86.mov_cr3 import NO_FLUSH

_LATE = 2 * KEPT
_MOST_SPACES = 64  # an operating system that runs has no end of CR3 values
_MOST_ENDS = 2
_NO_SPACE = -1  # in the place of a CR3 that nothing tells


def story_of(events: Iterable[Event], cr3: int | None, source: str) -> Story:
    """Return the story that events tell, in their order. ``cr3``: that of the switch, None if nobody tells."""
    boots = boots_of_events(events, cr3)
    report = replace(report_on(boots, cr3), source=source)
    ends = [(boot, boot.end) for boot in boots if isinstance(boot.end, (TripleFault, Stopped))]
    walked = _walk_of(report, boots)
    if report.ending is not None:
        other = [end for boot, end in ends if boot.last() is None][-_MOST_ENDS:]
        first = [end for at, end in enumerate(other) if replace(end, offset=0) not in [replace(one, offset=0) for one in other[:at]]]
        also = (message("the log tells of another end as well: {end}", end=end) for end in first)
        return Story(replace(report, notes=(*report.notes, *also)), walked=walked)
    if ends:
        last = ends[-1][1]
        ending = Ending.TRIPLE_FAULT if isinstance(last, TripleFault) else Ending.STOPPED
        notes = () if cr3 is None else report.notes  # that there is no exception is no news then
        return Story(replace(report, ending=ending, detail=message("{end}", end=last), dump=last.cpu, notes=notes), walked=walked)
    end = boots[-1].end
    if end is None or isinstance(end, (TripleFault, Stopped)):
        return Story(report, tells_nothing="the log holds no exception, no interrupt and no load of CR3")
    if isinstance(end, Reset):
        return Story(report, reset="the machine was reset without an exception", reset_cpu=end.cpu)
    if isinstance(end, Walked):
        return Story(report, tells_nothing=_ALONE, walked=walked)
    rip = end.cpu.rip if isinstance(end, (InterruptRecord, Shown)) else None
    alone: str | Message = message("{shown:alone}", shown=end) if isinstance(end, Shown) and not report.saw_interrupts else ""
    interrupt = end if isinstance(end, InterruptRecord) and end.kind is Kind.INTERRUPT else None
    return Story(report, _words(end), rip, tells_nothing=alone, last_interrupt=interrupt)


_ALONE = "a walk is shown, and no exception with it: what the access was is not told"


def _walk_of(report: LogReport, boots: Sequence[StreamedSpaces]) -> Walked | None:
    """The walk of the page fault that the report is about, of the nearest place; of no fault, the last one."""
    walks = [walk for boot in boots for walk in boot.walks]
    if report.ending is None:
        return walks[-1] if walks else None
    fault = report.fatal or report.first
    if fault is None or fault.cr2 is None or fault.offset is None:
        return None
    at = fault.offset
    its = [walk for walk in walks if walk.virt == fault.cr2]
    return min(its, key=lambda walk: abs(walk.offset - at)) if its else None


def boots_of_events(events: Iterable[Event], planned: int | None = None) -> list[StreamedSpaces]:
    """Return the boots of which events tell, at least one; the last ones of very many.

    ``planned``: the CR3 whose address space is kept however many others there are.
    """
    planned = None if planned is None else planned & ~NO_FLUSH
    boots: deque[StreamedSpaces] = deque([StreamedSpaces(planned)], maxlen=MOST_BOOTS)
    for event in events:
        if boots[-1].is_over:
            if isinstance(event, Reset) or isinstance(event, TripleFault) and _is_told(boots[-1].end, event):
                continue  # of the same end
            boots.append(StreamedSpaces(planned))
        boots[-1].take(event)
    return list(boots)


def _is_told(end: Event | None, event: TripleFault) -> bool:
    """Whether a triple fault is the one that ended a boot: it shows no other registers."""
    known = end.cpu.rip if isinstance(end, (TripleFault, Stopped)) else None
    return event.cpu.rip in (None, known)


class StreamedSpaces:
    """The address spaces of one boot, whose events come one by one. ``planned``: as above."""

    def __init__(self, planned: int | None = None) -> None:
        self._planned = planned
        self._spaces: dict[int, _Space] = {}  # the one in force last is the last one
        self._space: _Space | None = None
        self._last: int | None = None
        self._after: deque[_Told] = deque(maxlen=KEPT)  # the last interrupts
        self._recent: deque[_Told] = deque(maxlen=_LATE)  # the last records of all
        self._loaded = self._cr3 = _NO_SPACE
        self._before: _Told | None = None
        self._vector: int | None = None  # of the last exception
        self._count = self._interrupts = 0
        self.saw_interrupts = False
        self.is_over = False  # it was reset, or given up
        self.end: Event | None = None
        self.walks: deque[Walked] = deque(maxlen=KEPT)

    def last(self) -> int | None:
        """Return the CR3 of the last exception that was raised on its own account."""
        return self._last

    def under(self, cr3: int) -> Excerpt | None:
        """Return what happened under ``cr3``; None if no event was."""
        space = self._spaces.get(cr3)
        return None if space is None else space.excerpt(self._after, self._before_it)

    def _before_it(self, record: InterruptRecord) -> list[InterruptRecord]:
        return [one.whole() for one in self._recent if one.record.offset < record.offset]

    def cpu(self, excerpt: Excerpt) -> WhichCpu:
        """Return which CPU it was, as far as the events tell."""
        reported = next((record for record in excerpt.early if record.reported_by), None)
        return WhichCpu((reported or excerpt.late[-1]).whose)

    def count(self, excerpt: Excerpt, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return the exceptions of the excerpt's address space, and the interrupts of all, from ``first`` to ``last``."""
        return self._spaces[excerpt.switch.cr3].count(first, last)

    def take(self, event: Event) -> None:
        """Take the next event."""
        self.end = event
        self._count += 1
        if isinstance(event, (TripleFault, Stopped, Reset)):
            self.is_over = True
            if not isinstance(event, Reset):
                for one in self._spaces.values():
                    one.finish(event if self._before is not None and one.ends_with(self._before) else None)
        elif isinstance(event, Walked):
            self.walks.append(event)
        elif isinstance(event, Loaded):
            self._loaded = event.cr3 & ~NO_FLUSH
            self._enter(self._loaded, event.offset)
        elif isinstance(event, InterruptRecord):
            self._enter(self._loaded if event.cr3 is None else event.cr3, event.offset)
            self._take_record(event)

    def _enter(self, cr3: int, offset: int) -> None:
        """Be in the address space of ``cr3`` from now on."""
        if cr3 == self._cr3 and self._space is not None:
            return
        before = None if self._space is None or self._cr3 == _NO_SPACE else self._cr3
        self._space = self._spaces.pop(cr3, None) or _Space(Switch(cr3, before, offset))
        self._spaces[cr3] = self._space
        self._cr3 = cr3
        if len(self._spaces) > _MOST_SPACES:
            del self._spaces[next(one for one in self._spaces if one != self._planned)]

    def _take_record(self, event: InterruptRecord) -> None:
        assert self._space is not None
        self.saw_interrupts = True
        if event.is_exception and event.vector == DOUBLE_FAULT and event.old is None:
            event = replace(event, old=self._vector)
        self._interrupts += not event.is_exception
        told = _Told(event, self._cr3, self._count, self._interrupts, self._before)
        if event.is_exception:
            self._space.take(told)
            self._vector = event.vector
            if not is_delivery(event):
                self._last = self._cr3
        else:
            self._after.append(told)
        self._recent.append(told._replace(before=None))
        self._before = told._replace(before=None)  # one is enough, and a row of all would grow


class _Told(NamedTuple):
    """A record, the CR3 in force, its place among all events, how many interrupts there were up to it, and the record before it."""

    record: InterruptRecord
    cr3: int
    at: int
    interrupts: int
    before: _Told | None

    def whole(self) -> InterruptRecord:
        """Return the record with its CR3."""
        return replace(self.record, cpu=replace(self.record.cpu, cr3=None if self.cr3 == _NO_SPACE else self.cr3))


class _Space:
    """What is kept of one address space while the events go by."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._early: list[_Told] = []
        self._late: deque[_Told] = deque(maxlen=_LATE)
        self._exceptions = 0
        self._place = 0  # of the last exception among all events
        self._end: TripleFault | Stopped | None = None

    def take(self, told: _Told) -> None:
        """Take the next exception."""
        if len(self._early) < KEPT:
            self._early.append(told)
        self._late.append(told)
        self._exceptions += 1
        self._place = told.at

    def ends_with(self, told: _Told) -> bool:
        """Return whether the last exception is this record."""
        return bool(self._late) and self._place == told.at

    def finish(self, end: TripleFault | Stopped | None) -> None:
        """Take how the boot ended, if that is of the last exception here."""
        self._end = end

    def excerpt(
        self, interrupts: Iterable[_Told], recent: Callable[[InterruptRecord], Sequence[InterruptRecord]]
    ) -> Excerpt:
        """Return what was kept; ``interrupts``: the last ones of all, ``recent``: as in the excerpt."""
        switch = self._switch
        if not self._early:
            return Excerpt(switch, place=switch.offset)
        early = _numbered(self._early, 0)
        late = _numbered(self._late, self._first_late)
        dead = late[-1] if self._end is not None else None
        others = len(by_task(late)) > 1
        early, late = of_one_cpu(early, late, lambda record: record is dead)
        return Excerpt(
            switch, early, late, self._record_before,
            tuple(told.whole() for told in interrupts if told.at > self._place),
            self._end if late[-1] is dead else None,
            recent=recent, records=self._exceptions if others else None, place=switch.offset,
        )  # fmt: skip

    def _record_before(self, record: InterruptRecord) -> InterruptRecord | None:
        same = (told for told in (*self._late, *self._early) if told.record.offset == record.offset)
        before = next((told.before for told in same), None)
        return None if before is None else before.whole()

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


def _numbered(told: Iterable[_Told], first: int) -> list[InterruptRecord]:
    return [replace(one.whole(), number=number) for number, one in enumerate(told, first)]


def _words(end: InterruptRecord | Loaded | Shown | Walked) -> Message:
    if isinstance(end, Loaded):
        return message("CR3={cr3} was loaded", cr3=Hex(end.cr3))
    if isinstance(end, Walked):
        return message("a walk of {virt}", virt=Hex(end.virt))
    return message("{end}", end=end)
