"""Accesses that go through and lead astray: to another frame than the one that was meant, or, of
a write, to one in which something else lies as well.

No exception tells of them. The CPU executes, reads or overwrites what happens to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from cr3scope.input.capture.records import PlanStep
from cr3scope.message import Hex, Message, message
from cr3scope.model.asked.owners import collisions, owners
from cr3scope.model.intent import Intent
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import walk
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PAGE_BYTES
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
        for virt, phys in _places(tables, cpu, step, platform):
            why = _why(intent, step, virt, phys, shared)
            if why is not None:
                words = "from step {step} ({access}) on the bytes are not those that were meant: {why}"
                return Stray(step, message(words, step=step.step, access=step.name, why=why))
    return None


def _places(
    tables: Tables, cpu: CpuState, step: PlanStep, platform: Platform
) -> Iterator[tuple[int, int]]:
    """Virtual and physical address of the step's first byte in each page."""
    virt, last = step.virt, step.virt + max(step.width, 1) - 1
    while virt <= last:
        path = walk(tables, cpu, virt, platform)
        if path.phys is None:
            return
        after = (virt | path.page_size - 1) + 1
        yield virt, path.phys
        for page in range((virt | PAGE_BYTES - 1) + 1, min(after, last + 1), PAGE_BYTES):
            yield page, path.phys + page - virt
        virt = after


def _why(
    intent: Intent, step: PlanStep, virt: int, phys: int, shared: Iterable[_Shared]
) -> Message | None:
    meant = _meant(intent, virt)
    if meant is not None and meant != phys:
        return message("{virt} leads to {phys}, not {meant}", virt=Hex(virt), phys=Hex(phys), meant=Hex(meant))
    if step.kind is AccessKind.FETCH and _is_nobodys_code(intent, virt):
        return message("no segment and no image lies at {virt}", virt=Hex(virt))
    if step.kind is AccessKind.WRITE:
        for both in shared:
            if both.first <= phys <= both.last:
                words = "{virt} leads to {phys}, where {one} and {other} lie"
                return message(words, virt=Hex(virt), phys=Hex(phys), one=both.one, other=both.other)
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
