"""What a log says of one boot, and what its format tells of each address space for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import NO_DUMP, InterruptRecord, RegisterDump, Stopped, TripleFault
from cr3scope.input.logs.happened import Happened, Repetition
from cr3scope.input.logs.switched import Switch
from cr3scope.message import Message
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.standing import Standing

INTERRUPT_LOG, QEMUS_LAST_WORDS = "interrupt log", "QEMU's last words"
SOURCES_OF_TCG = (INTERRUPT_LOG, QEMUS_LAST_WORDS)
MOST_BOOTS = 256  # of one log, the last ones
KEPT = 64  # of the first exceptions under a CR3


@dataclass(frozen=True, slots=True)
class LogReport:
    """``first`` is the event whose chain ended the machine, or after which the log is silent, if it is an exception or an INT
    instruction of a vector of theirs; else the exception that it raised; None if all were handled, or none came.
    ``ending`` is None if it ran on. ``fatal``: the exception that could not be delivered and made a double fault, or
    stormed, or was delivered; it is another than ``first`` where the delivery of that, or its handler, raised it.

    ``exceptions``: the first ones under the CR3 that the report is about, whatever became of them.
    """

    first: Fault | None = None
    ending: Ending | None = None
    records: int = 0  # exceptions under the new CR3; of a storm by their numbers, whatever came between
    switch_offset: int | None = None
    exceptions: tuple[Fault, ...] = ()
    notes: tuple[str | Message, ...] = ()
    earlier: tuple[Message, ...] = ()  # what came before the fatal one; empty if none was
    fatal: Fault | None = None
    detail: str | Message | None = None
    source: str = INTERRUPT_LOG
    switch: Switch | None = None
    cpu: str | Message = ""  # which of several CPUs this is of
    cpu_number: int | None = None  # the same, where it is certain
    followed: tuple[Fault, ...] = ()  # what came of the fatal exception, or the storm that it became
    counted: Count | None = None  # of what kind ``records`` are; None where nobody counted
    saw_interrupts: bool = False  # the log tells of interrupts: exceptions would stand in it, too
    standing: Standing | None = None  # no log tells it: of whoever has asked the machine
    events: tuple[Happened, ...] = ()  # the chain, its origin first; empty if no event was fatal
    storm: Repetition | None = None  # in which they end
    is_shutdown: bool = False  # the last exception could not be delivered
    dump: RegisterDump = NO_DUMP  # the registers at its origin; of a death without a record, those at the end
    is_routine: bool = False  # exceptions of the same kind were handled before the last one
    boots: int = 1  # of which the log tells
    alike: int = 0  # boots beside this one that died of the same
    is_by_bios: bool = False  # SeaBIOS has reset the machine: no exception of the guest's did
    panic: str | None = None  # of a console: why a kernel gave up, in its own words, "" if it does not say; None if none did
    has_screen: bool = False  # of a console: the firmware printed its exception screen, behind which nothing goes on
    is_last: bool = False  # of a console: behind it no record of the trace came any more

    @property
    def tells(self) -> bool:
        """Return whether it tells of an end: an exception, somebody's words or a screen."""
        return self.ending is not None or self.panic is not None or self.has_screen


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a log tells of one address space, as far as it matters: its first exceptions and its last ones.

    All lists are in the order of the log and of one CPU, where CPUs can be told apart; ``late`` may hold
    what ``early`` holds. Without exceptions both are empty. ``before``: returns the record right before an exception,
    ``recent`` the last ones before it, of all address spaces and CPUs, interrupts too.
    ``end``: that no exception could be delivered after the last one, or that somebody stopped the guest.
    """

    switch: Switch
    early: Sequence[InterruptRecord] = ()
    late: Sequence[InterruptRecord] = ()
    before: Callable[[InterruptRecord], InterruptRecord | None] = field(default=lambda _record: None)
    after: Sequence[InterruptRecord] = ()  # interrupts after the last exception, up to a reset
    end: TripleFault | Stopped | None = None
    records: int | None = None  # exceptions of several CPUs that share the log; None of one: as its numbers tell
    place: int = 0  # byte of the log where the address space first shows
    cut: int | None = None  # the byte at which the log breaks off in its last record
    recent: Callable[[InterruptRecord], Sequence[InterruptRecord]] = field(default=lambda _record: ())


@dataclass(frozen=True, slots=True)
class WhichCpu:
    """One CPU of several, and how that is known; ``number`` is None unless it is certain."""

    words: str | Message = ""
    number: int | None = None


class Spaces(Protocol):
    """The address spaces of which a log tells of one boot, by CR3."""

    @property
    def saw_interrupts(self) -> bool:
        """Return whether the log tells of interrupts: exceptions would stand in it, too."""

    def last(self) -> int | None:
        """Return the CR3 of the last chain of exceptions; None if the log holds no exception."""

    def under(self, cr3: int) -> Excerpt | None:
        """Return what happened under ``cr3``; None if it never stands in the log."""

    def cpu(self, excerpt: Excerpt) -> WhichCpu:
        """Return which CPU the last exception is of; nothing if nothing tells of more than one."""

    def count(self, excerpt: Excerpt, first: InterruptRecord, last: InterruptRecord) -> Count:
        """Return what comes from ``first`` to ``last``, two of the excerpt's exceptions, both included.

        This may read much of a log: a storm is not counted.
        """
