"""What the rules share that judge entries of which no access tells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cr3scope.arrays import Mask, U64
from cr3scope.diagnose.rule import Context
from cr3scope.model.intent import Intent, Named
from cr3scope.model.painted import Merged, bounds
from cr3scope.paging.reach import Stage
from cr3scope.x86.access import EntryRef
from cr3scope.x86.word import MASK64


class Meant:
    """Every address that the trace named: mapped, loaded, handed over, or touched by the plan."""

    def __init__(self, intent: Intent) -> None:
        named = [
            *intent.maps, *intent.segments, *intent.images, *intent.regions, *intent.tables
        ]  # fmt: skip
        named += [Named("", "", step.virt, step.virt + max(step.width, 1) - 1) for step in intent.boot.plan]
        self._named = Merged(*bounds([one for one in named if one.virt <= MASK64]))

    def is_below(self, stage: Stage, chosen: Mask) -> Mask:
        """Return which of the chosen entries translate an address that somebody named."""
        rows, indices = np.nonzero(chosen)
        first = stage.first_addresses(rows, indices)
        last = first + np.uint64(stage.form.page_bytes - 1)
        found = np.zeros_like(chosen)
        found[rows, indices] = self._named.touches(first, last)
        return found


def is_own_root(context: Context) -> bool:
    """Return whether CR3 leads to the top table that the trace tells of, and the CPU walks as many levels."""
    root, levels = context.cpu.root, context.cpu.levels
    tables = context.boot.tables
    return any(t.phys == root and t.parent == 0 and t.level == levels for t in tables)


def unless_struck(context: Context, entry: EntryRef) -> EntryRef | None:
    """Return the entry that a check names; None if a step dies: the plan is then the better witness."""
    survives = context.prediction is None or context.prediction.survives
    return entry if survives else None


def is_within(addresses: U64, ranges: Iterable[tuple[int, int]]) -> Mask:
    """Return which addresses lie in one of some inclusive ranges."""
    return Merged.of(ranges).touches(addresses, addresses)
