"""Accesses that go through and lead astray: to another frame than the one that was meant, or, of
a write, to one in which something else lies as well.

No exception tells of them. The CPU executes, reads or overwrites what happens to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import PlanStep
from cr3scope.message import Hex, Message, message
from cr3scope.model.asked.owners import collisions, owners
from cr3scope.model.intent import Intent
from cr3scope.paging.tables import Tables, table_entries
from cr3scope.paging.walk import alike, walk
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ADDRESS_MASK, PAGE_BYTES, PAGE_FRAME
from cr3scope.x86.platform import Platform

_MOST_COLLISIONS = 64


@dataclass(frozen=True, slots=True)
class Stray:
    """The first step that leads astray."""

    step: PlanStep
    why: Message


@dataclass(frozen=True, slots=True)
class _Shared:
    """An inclusive physical range in which two things lie, by their labels."""

    first: int
    last: int
    one: str
    other: str


def first_stray(
    tables: Tables, cpu: CpuState, plan: Iterable[PlanStep], intent: Intent, platform: Platform
) -> Stray | None:
    """Return the first of the steps, all of which go through, that leads astray; None if none does."""
    shared = [
        _Shared(max(one.first, two.first), min(one.last, two.last), one.label, two.label)
        for one, two in islice(collisions(owners(intent)), _MOST_COLLISIONS)
    ]
    for step in plan:
        for part in _places(tables, cpu, step, platform):
            why = _why(intent, step, part, shared)
            if why is not None:
                words = "from step {step} ({access}) on the bytes are not those that were meant: {why}"
                return Stray(step, message(words, step=step.step, access=step.name, why=why))
    return None


def _places(
    tables: Tables, cpu: CpuState, step: PlanStep, platform: Platform
) -> Iterator[tuple[int, int, int]]:
    """The step's bytes in parts whose frames are neighbours: first and last virtual address, first physical one."""
    virt, last = step.virt, step.virt + max(step.width, 1) - 1
    while virt <= last:
        path = walk(tables, cpu, virt, platform)
        if path.phys is None:
            return
        behind = (virt | path.page_size - 1) + 1
        if behind <= last and path.entries:
            behind += (_neighbours(tables, path.leaf, path.page_size) - 1) * path.page_size
        yield virt, min(behind - 1, last), path.phys
        virt = behind


def _neighbours(tables: Tables, leaf: EntryRef, page_size: int) -> int:
    """How many entries from a leaf on, in its table, lead to one frame after the other; at least 1."""
    entries = table_entries(tables, leaf.form, leaf.phys & PAGE_FRAME)
    assert entries is not None
    count = alike(tables, leaf, page_size)
    frames = entries[leaf.index : leaf.index + count] & np.uint64(ADDRESS_MASK)
    breaks = np.flatnonzero(frames[1:] - frames[:-1] != np.uint64(page_size))
    return int(breaks[0]) + 1 if len(breaks) else count


def _why(
    intent: Intent, step: PlanStep, part: tuple[int, int, int], shared: Iterable[_Shared]
) -> Message | None:
    first, last, phys = part
    for virt in (first, *intent.edges(first, last)):
        there, meant = phys + virt - first, _meant(intent, virt)
        if meant is not None and meant != there:
            words = "{virt} leads to {phys}, not {meant}"
            return message(words, virt=Hex(virt), phys=Hex(there), meant=Hex(meant))
        if step.kind is AccessKind.FETCH and _is_nobodys_code(intent, virt):
            return message("no segment and no image lies at {virt}", virt=Hex(virt))
    if step.kind is AccessKind.WRITE:
        for both in shared:
            there = max(both.first, phys)
            if there <= min(both.last, phys + last - first):
                words = "{virt} leads to {phys}, where {one} and {other} lie"
                virt = first + there - phys
                return message(words, virt=Hex(virt), phys=Hex(there), one=both.one, other=both.other)
    return None


def _is_nobodys_code(intent: Intent, virt: int) -> bool:
    """Where the trace tells of segments and images, what is executed outside all of them is left over."""
    told = [*intent.segments, *intent.images]
    return bool(intent.segments and intent.images) and not any(virt in named for named in told)


def _meant(intent: Intent, virt: int) -> int | None:
    """Where the byte at ``virt`` was put: of a segment, where the file's bytes were loaded."""
    segment = next((segment for segment in intent.segments if virt in segment), None)
    if segment is not None and segment.phys is not None:
        return segment.phys + virt - segment.virt
    frame = intent.frame_of(virt)
    return None if frame is None else frame | virt % PAGE_BYTES
