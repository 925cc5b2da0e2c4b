"""The one-word answer: one table, strongest evidence first."""

from __future__ import annotations

from collections.abc import Callable

from cr3scope.verdict.case import Case, Circumstance as Is
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending


def _is(*wanted: Is) -> Callable[[Case], bool]:
    return lambda case: not case.circumstances.isdisjoint(wanted)


def _ended(case: Case) -> Ending | None:
    return case.observation.ending if case.observation else None


# The first line that holds decides.
TABLE: tuple[tuple[Callable[[Case], bool], Status], ...] = (
    (_is(Is.NEVER_RAN), Status.INCOMPLETE),
    (_is(Is.GAVE_UP), Status.FAULTED),
    (_is(Is.DAMAGED, Is.NOTHING_TO_JUDGE), Status.INCOMPLETE),
    (_is(Is.LOADER_REFUSED), Status.WILL_FAULT),
    (_is(Is.LOADER_FAILED), Status.INCOMPLETE),
    (lambda case: _ended(case) is Ending.HANG, Status.HUNG),
    (_is(Is.ROUTINE), Status.INCOMPLETE),
    (lambda case: _ended(case) not in (None, Ending.PARKED), Status.FAULTED),
    (_is(Is.ABSENT), Status.INCOMPLETE),
    (_is(Is.DEADLY_INTERRUPT), Status.WILL_FAULT),
    (lambda case: case.prediction is not None and not case.prediction.survives, Status.WILL_FAULT),
    (_is(Is.UNFINISHED), Status.INCOMPLETE),
    (_is(Is.CHECK_FAILED, Is.ENDED_WITH_FAILURE), Status.FAULTED),
    (lambda case: case.has_error and Is.STOPPED_BY_IT in case.circumstances, Status.FAULTED),
    (lambda case: case.has_error, Status.WILL_FAULT),
    (_is(Is.CUT_SHORT, Is.TOLD_NOTHING, Is.OTHER_BOOT, Is.LEFT_OUT), Status.INCOMPLETE),
    (_is(Is.UNSAID), Status.HUNG),
)


def status_of(case: Case) -> Status:
    """Return the status: that of the first line of the table that holds, else healthy."""
    return next((status for holds, status in TABLE if holds(case)), Status.HEALTHY)
