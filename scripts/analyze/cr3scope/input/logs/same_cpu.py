"""Which exceptions are of the same CPU: each CPU of a running kernel has a task register of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cr3scope.input.logs import chain
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.observe import KEPT


def by_task(records: Sequence[InterruptRecord]) -> list[list[InterruptRecord]]:
    """Return the records of each CPU where task registers tell them apart; else all as one."""
    tasks = {record.task for record in records if record.task}
    if len(tasks) < 2:
        return [list(records)]
    groups: dict[int, list[InterruptRecord]] = {}
    for record in records:
        groups.setdefault(record.task or 0, []).append(record)
    return list(groups.values())


def are_one(one: InterruptRecord, other: InterruptRecord) -> bool:
    """Return whether two records may be of the same CPU."""
    return not one.task or not other.task or one.task == other.task


def _never(_record: InterruptRecord) -> bool:
    return False


def of_one_cpu(
    early: list[InterruptRecord],
    late: list[InterruptRecord],
    died: Callable[[InterruptRecord], bool],
    fell_silent: Callable[[InterruptRecord], bool] = _never,
) -> tuple[list[InterruptRecord], list[InterruptRecord]]:
    """Return the records of the CPU that died; else of one that storms; else of one that fell silent.

    Those of all CPUs if they cannot be told apart, or none of these happened. ``died`` and ``fell_silent`` are
    asked about the last record of a CPU.
    """
    groups = by_task(late)
    if len(groups) == 1:
        return early, late
    dead = (group for group in groups if died(group[-1]))
    storming = (group for group in groups if chain.storm_start(group) is not None)
    silent = (group for group in groups if fell_silent(group[-1]))
    chosen = next(dead, None) or next(storming, None) or next(silent, None)
    if chosen is None:
        return early, late
    return [r for r in early if are_one(r, chosen[-1])] or chosen[:KEPT], chosen
