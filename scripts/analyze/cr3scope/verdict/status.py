"""The one-word answer: one table, strongest evidence first."""

from __future__ import annotations

from collections.abc import Callable, Set

from cr3scope.verdict.case import Case, Circumstance as Is
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending


def _ended(case: Case) -> Ending | None:
    return case.observation.ending if case.observation else None


# The first line that holds decides. Of circumstances one is enough.
TABLE: tuple[tuple[Set[Is] | Callable[[Case], bool], Status], ...] = (
    ({Is.NEVER_RAN}, Status.INCOMPLETE),
    ({Is.GAVE_UP}, Status.FAULTED),
    ({Is.DAMAGED, Is.NOTHING_TO_JUDGE}, Status.INCOMPLETE),
    ({Is.LOADER_REFUSED}, Status.WILL_FAULT),
    ({Is.LOADER_FAILED}, Status.INCOMPLETE),
    (lambda case: _ended(case) is Ending.HANG, Status.HUNG),
    ({Is.ROUTINE}, Status.INCOMPLETE),
    (lambda case: _ended(case) not in (None, Ending.PARKED), Status.FAULTED),
    ({Is.ABSENT}, Status.INCOMPLETE),
    ({Is.DEADLY_INTERRUPT}, Status.WILL_FAULT),
    (lambda case: case.prediction is not None and not case.prediction.survives, Status.WILL_FAULT),
    ({Is.UNFINISHED}, Status.INCOMPLETE),
    ({Is.CHECK_FAILED, Is.ENDED_WITH_FAILURE}, Status.FAULTED),
    (lambda case: case.has_error and Is.STOPPED_BY_IT in case.circumstances, Status.FAULTED),
    (lambda case: case.has_error or case.prediction is not None and case.prediction.diverges is not None, Status.WILL_FAULT),
    ({Is.CUT_SHORT, Is.TOLD_NOTHING, Is.OTHER_BOOT, Is.LEFT_OUT, Is.MAY_HAVE_DIED}, Status.INCOMPLETE),
    ({Is.UNSAID}, Status.HUNG),
)


def holds(line: Set[Is] | Callable[[Case], bool], case: Case) -> bool:
    """Return whether what a line of the table begins with holds of a case."""
    return line(case) if callable(line) else not case.circumstances.isdisjoint(line)


def status_of(case: Case) -> Status:
    """Return the status: that of the first line of the table that holds, else healthy."""
    return next((status for line, status in TABLE if holds(line, case)), Status.HEALTHY)
