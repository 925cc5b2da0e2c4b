"""A death as a log alone tells of it: no trace, no tables, no machine that could be asked."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.input.logs.event import NO_DUMP, InterruptRecord, RegisterDump
from cr3scope.input.logs.happened import Happened
from cr3scope.input.logs.log_report import LogReport
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import SELECTOR_ERRORS
from cr3scope.x86.mode import Mode


@dataclass(frozen=True, slots=True)
class LoggedDeath:
    """What a rule may look at of a log: ``events`` is the chain, its origin first, and empty of a death without a record.

    ``dump``: the registers at the origin, or at the end if there is no event. Any of it may be absent.
    """

    events: tuple[Happened, ...] = ()
    ending: Ending | None = None
    dump: RegisterDump = NO_DUMP

    @property
    def mode(self) -> Mode | None:
        """Return the mode in which the CPU was at the origin, or at the end if there is no event; None where the log does not tell."""
        return (self.dump if self.origin is None else self.origin.cpu).mode

    @property
    def origin(self) -> InterruptRecord | None:
        """Return the event that all the others followed from; None of a death without a record."""
        return self.events[0].record if self.events else None

    @property
    def failed(self) -> Happened | None:
        """Return the first event that could not be delivered for a reason that the log bears out; None if there is none."""
        return next((one for one in self.events if one.why is not None), None)

    @property
    def is_silent(self) -> bool:
        """Return whether it is a triple fault without a record: the registers at the end are all that is known."""
        return not self.events and self.ending is Ending.TRIPLE_FAULT

    def refusal(self, failed: Happened) -> int | None:
        """Return the error code with which the delivery of an event was refused; None if it became a double fault, which
        loses it."""
        at = self.events.index(failed) + 1
        if at >= len(self.events) or not self.events[at].of_delivery:
            return None
        record = self.events[at].record
        return record.error_code if record.vector in SELECTOR_ERRORS else None


def death_in(report: LogReport) -> LoggedDeath:
    """Return the death that a log reports; of a guest that lived on, or may well have, it is empty."""
    if report.ending is None or report.is_routine:
        return LoggedDeath()
    return LoggedDeath(report.events, report.ending, report.dump)
