"""Frames that are mapped more than once, and in ways that do not go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cr3scope.arrays import I64, Mask, integers
from cr3scope.dataclass import dataclass
from cr3scope.model.asked.compare import Comparison, Piece
from cr3scope.model.painted import edges_of
from cr3scope.x86.entry import PAGE_SHIFT


@dataclass(frozen=True, slots=True)
class Alias:
    """One range of frames, inclusive, and two mappings of its first frame."""

    phys: int
    last: int
    one: Piece
    other: Piece


def common(comparison: Comparison, ones: Mask, others: Mask) -> Iterator[Alias]:
    """Yield the frames that some mapping of ``ones`` and some of ``others`` both lead to."""
    if not ones.any() or not others.any():
        return
    edges = _edges(comparison)
    both = _is_covered(comparison, edges, ones) & _is_covered(comparison, edges, others)
    yield from _runs(comparison, edges, both, (ones, others))


def conflicting_types(comparison: Comparison, ones: Mask, others: Mask) -> Iterator[Alias]:
    """Yield the frames that ``ones`` reach with one memory type and ``others`` with another."""
    for kind in integers(np.unique(comparison.type[ones])):
        differing = comparison.type > kind if ones is others else comparison.type != kind
        yield from common(comparison, ones & (comparison.type == kind), others & differing)


def _edges(comparison: Comparison) -> I64:
    """Frame numbers at which some mapping begins or ends."""
    return edges_of(comparison.frame, _frame_end(comparison))


def _frame_end(comparison: Comparison) -> I64:
    return comparison.frame + comparison.end - comparison.first


def _is_covered(comparison: Comparison, edges: I64, mask: Mask) -> Mask:
    """Which intervals between ``edges`` a mapping of ``mask`` leads to."""
    change = np.zeros(len(edges), dtype=np.int64)
    np.add.at(change, np.searchsorted(edges, comparison.frame[mask]), 1)
    np.add.at(change, np.searchsorted(edges, _frame_end(comparison)[mask]), -1)
    return np.cumsum(change) > 0


def _runs(
    comparison: Comparison, edges: I64, shared: Mask, masks: Sequence[Mask]
) -> Iterator[Alias]:
    """Neighbouring intervals together, as long as the same two mappings lead there."""
    end_of = _frame_end(comparison)
    at, last = 0, len(edges) - 1
    found = np.flatnonzero(shared)
    while True:
        rest = found[found >= at]
        if not len(rest):
            return
        start = int(rest[0])
        frame = int(edges[start])
        rows = [
            int(np.flatnonzero(mask & (comparison.frame <= frame) & (end_of > frame))[0])
            for mask in masks
        ]
        end = min(int(end_of[row]) for row in rows)
        at = min(int(np.searchsorted(edges, end)), last)
        one, other = (comparison.at_row(row) for row in rows)
        yield Alias(frame << PAGE_SHIFT, (end << PAGE_SHIFT) - 1, one, other)
