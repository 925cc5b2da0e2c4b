"""Which exceptions are of the same CPU: each CPU of a running kernel has a task register of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cr3scope.input.logs.event import InterruptRecord, by_task
from cr3scope.input.logs.log_report import KEPT
from cr3scope.input.logs.survival import storm_start, went_on


def _never(_record: InterruptRecord) -> bool:
    return False


def _storms(group: Sequence[InterruptRecord], later: Sequence[InterruptRecord]) -> bool:
    start = storm_start(group)
    return start is not None and not went_on(group[start], later)


def of_one_cpu(
    early: list[InterruptRecord],
    late: list[InterruptRecord],
    died: Callable[[InterruptRecord], bool],
    fell_silent: Callable[[InterruptRecord], bool] = _never,
    later: Callable[[InterruptRecord], Sequence[InterruptRecord]] = lambda _record: (),
) -> tuple[list[InterruptRecord], list[InterruptRecord]]:
    """Return the records of the CPU that died; else of one that storms; else of one that fell silent.

    Those of all CPUs if they cannot be told apart, or none of these happened. ``died`` and ``fell_silent`` are
    asked about the last record of a CPU; ``later`` returns what interrupts came after that.
    """
    groups = by_task(late)
    if len(groups) == 1:
        return early, late
    dead = (group for group in groups if died(group[-1]))
    storming = (group for group in groups if _storms(group, later(group[-1])))
    silent = (group for group in groups if fell_silent(group[-1]))
    chosen = next(dead, None) or next(storming, None) or next(silent, None)
    if chosen is None:
        return early, late
    return [r for r in early if r.may_share_cpu(chosen[-1])] or chosen[:KEPT], chosen
