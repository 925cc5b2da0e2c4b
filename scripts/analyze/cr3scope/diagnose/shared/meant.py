"""What the rules share that judge entries of which no access tells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cr3scope.diagnose.rule import Context
from cr3scope.model.intent import Intent
from cr3scope.paging.reach import U64, Mask, Stage
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import level_bytes
from cr3scope.x86.word import MASK64


class Meant:
    """Every address that the trace named: mapped, loaded, handed over, or touched by the plan."""

    def __init__(self, intent: Intent) -> None:
        named = [
            *intent.maps, *intent.segments, *intent.images, *intent.regions, *intent.tables
        ]  # fmt: skip
        ranges = [(n.virt, n.last) for n in named]
        ranges += [(s.virt, s.virt + max(s.width, 1) - 1) for s in intent.boot.plan]
        merged: list[tuple[int, int]] = []
        for virt, last in sorted(ranges):
            if merged and virt <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(last, merged[-1][1])
            else:
                merged.append((virt, last))
        limit = MASK64
        self._virt = np.array([min(v, limit) for v, _ in merged], dtype=np.uint64)
        self._last = np.array([min(last, limit) for _, last in merged], dtype=np.uint64)

    def is_below(self, stage: Stage, chosen: Mask) -> Mask:
        """Return which of the chosen entries translate an address that somebody named."""
        rows, indices = np.nonzero(chosen)
        first = stage.first_addresses(rows, indices)
        last = first + np.uint64(level_bytes(stage.level) - 1)
        found = np.zeros_like(chosen)
        if len(self._virt):
            begun = np.searchsorted(self._virt, last, side="right")
            ended = np.searchsorted(self._last, first, side="left")
            found[rows, indices] = begun > ended
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
    found = np.zeros(addresses.shape, dtype=np.bool_)
    for first, last in ranges:
        found |= (addresses >= np.uint64(first)) & (addresses <= np.uint64(last))
    return found
