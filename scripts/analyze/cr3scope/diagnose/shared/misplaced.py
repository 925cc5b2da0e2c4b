"""Table pages that the walk meets where the trace did not put them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cr3scope.diagnose.rule import Context
from cr3scope.input.capture.records import TableRecord
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import ADDRESS_MASK, PAGE_BYTES, PRESENT, is_leaf


def misplaced(context: Context) -> Iterator[tuple[EntryRef, int, TableRecord]]:
    """Yield the entries that point to a table which was made for another level, or for another entry.

    The trace tells of each page for which entry it was made. A loader that puts one table below two entries on
    purpose, writing the second one itself, has said so in a ``set`` record.
    """
    records = {record.phys: record for record in context.boot.tables if record.parent}
    known = np.array(sorted(records), dtype=np.uint64)
    written = {record.entry for record in context.boot.sets if record.new & PRESENT}
    sound = {context.cpu.root}
    for stage in context.facts.stages:
        own = np.isin(stage.phys, np.array(sorted(sound), dtype=np.uint64))
        pointers = stage.present & ~stage.leaves & own[:, np.newaxis]
        target = stage.entries & np.uint64(ADDRESS_MASK)
        for entry, virt in stage.places(pointers & np.isin(target, known)):
            record = records[entry.value & ADDRESS_MASK]
            if record.level != stage.form.level - 1:
                yield entry, virt, record
            elif record.parent == entry.phys:
                sound.add(record.phys)
            elif entry.phys not in written and _is_still_there(context, record):
                yield entry, virt, record


def _is_still_there(context: Context, record: TableRecord) -> bool:
    """Whether the entry for which the table was made still points to it: not moved, but shared."""
    page = context.tables.table(record.parent & -PAGE_BYTES)
    value = 0 if page is None else int(page[record.parent % PAGE_BYTES // 8])
    level = record.level + 1
    points = value & PRESENT and not is_leaf(value, level)
    return bool(points) and value & ADDRESS_MASK == record.phys
