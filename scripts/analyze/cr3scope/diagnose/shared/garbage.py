"""What gives away an entry that was never written: it leads nowhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cr3scope.arrays import U64, Mask, booleans, integers
from cr3scope.diagnose.rule import Context
from cr3scope.diagnose.shared.meant import is_within
from cr3scope.paging.page_size import lacking_page_size
from cr3scope.paging.reach import Stage
from cr3scope.x86.entry import ACCESSED, ADDRESS_MASK, DIRTY, LARGE, reserved_mask

_RUN = 3  # so many neighbours that map one frame are no mapping
_HIGH_BITS = 0x7FF << 52  # 62:52: nothing, or a protection key


def garbage(context: Context, stage: Stage, chosen: Mask) -> Mask:
    """Return which of the chosen present entries no loader writes."""
    pointers = chosen & ~stage.leaves & ~lacking_page_size(stage.entries, stage.form)
    wrong = _invalid(context, stage) | _no_table(context, stage, pointers)
    found: Mask = chosen & (wrong | _no_memory(context, stage, chosen & stage.leaves))
    return found


def _invalid(context: Context, stage: Stage) -> Mask:
    """Entries that have a reserved bit, as every loader's NX without NXE, or its 1 GiB pages."""
    cpu = replace(context.cpu, efer=-1, has_1g_pages=True, is_amd=False)
    small, large = (np.uint64(reserved_mask(stage.form.level, ps, cpu)) for ps in (0, LARGE))
    found: Mask = stage.entries & np.where(stage.has(LARGE), large, small) != 0
    return found


def _no_table(context: Context, stage: Stage, chosen: Mask) -> Mask:
    """Pointers to what is no table: neither of the loader's nor, taken over, of the firmware's."""
    boot, tables = context.boot, context.tables
    old = boot.dumps.get("old")
    known = {record.phys for record in boot.tables}.union(old.tables if old else ())
    targets = stage.entries[chosen] & np.uint64(ADDRESS_MASK)
    ram = [(d.first, d.last) for d in boot.memory_map]
    outside = ~is_within(targets, ram) if ram else np.zeros(len(targets), dtype=np.bool_)
    found = np.zeros_like(chosen)
    found[chosen] = [
        target not in known and (old is not None or is_outside or tables.table(target) is None)
        for target, is_outside in zip(integers(targets), booleans(outside))
    ]
    return found


def _no_memory(context: Context, stage: Stage, chosen: Mask) -> Mask:
    """Leaves to a frame that nobody named: a run of equal ones, or with odd bits and beyond RAM."""
    ram = [(d.first, d.last) for d in context.boot.memory_map]
    frames: U64 = stage.entries & np.uint64(stage.form.frame_mask)
    strange = _in_runs(stage) | stage.has(_HIGH_BITS) & ~is_within(frames, ram) & bool(ram)
    found: Mask = chosen & strange
    if not found.any():
        return found
    intent = context.intent
    named = [*intent.maps, *intent.segments, *intent.regions, *intent.images]
    ranges = [(n.phys, n.phys + n.size - 1) for n in named if n.phys is not None]
    return found & ~is_within(frames, ranges)


def _in_runs(stage: Stage) -> Mask:
    """Entries that stand in a run of ``_RUN`` or more of one value."""
    value = stage.entries & ~np.uint64(ACCESSED | DIRTY)
    count = value.shape[1] - _RUN + 1
    begins = np.ones((len(value), count), dtype=np.bool_)
    for offset in range(1, _RUN):
        begins &= value[:, :count] == value[:, offset : offset + count]
    found = np.zeros(value.shape, dtype=np.bool_)
    for offset in range(_RUN):
        found[:, offset : offset + count] |= begins
    return found
