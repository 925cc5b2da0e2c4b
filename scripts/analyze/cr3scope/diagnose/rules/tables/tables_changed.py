"""The tables that the kernel sees are not those that the loader dumped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.input.capture.records import Dump
from cr3scope.message import Hex, Message, message
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.mode import PAGED

_ACCESSED_DIRTY = np.uint64(0x60)


def _check(context: Context) -> Iterator[Finding]:
    new, after = context.boot.dumps.get("new"), context.boot.dumps.get("after")
    if new is None or after is None:
        return
    changed = list(_changed(context, new, after))
    lost = sorted(new.tables.keys() ^ after.tables.keys())
    if not changed and not lost:
        return
    proof = [_change(number, *each) for number, each in enumerate(changed[:MOST_NAMED], 1)]
    if len(changed) > MOST_NAMED:
        proof.append(message("and {more} more entries", more=len(changed) - MOST_NAMED))
    if lost:
        proof.append(message(
            "table pages in only one of the dumps: {pages}, first {first_page}",
            pages=len(lost), first_page=Hex(lost[0]),
        ))  # fmt: skip
    found = RULE.finding(Message("the page tables changed between the loader's dump and the kernel's"), *proof)
    yield replace(found, entry=changed[0][0] if changed else None)


def _change(number: int, entry: EntryRef, value: int) -> Message:
    old, new = numbered("entry", number), numbered("value", number)
    return Message(f"{{{old}:full}}, now {{{new}:#018x}}", {old: entry, new: Hex(value)})


def _changed(context: Context, new: Dump, after: Dump) -> Iterator[tuple[EntryRef, int]]:
    levels = {record.phys: record.level for record in context.boot.tables}
    for phys in sorted(new.tables.keys() & after.tables.keys()):
        before, now = new.tables[phys], after.tables[phys]
        for index in np.nonzero((before ^ now) & ~_ACCESSED_DIRTY)[0]:
            level = new.levels if phys == new.cr3 & PAGE_FRAME else levels.get(phys, 0)
            entry = EntryRef(level, int(index), phys + 8 * int(index), int(before[index]))
            yield entry, int(now[index])


RULE = Rule(
    id="tables-changed",
    title="the tables changed after the dump",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Between the two dumps the CPU alone should have touched the tables, and it sets only A and D "
        "bits. Anything else was written by somebody: firmware, a DMA, or a loader that uses its "
        "table pages twice."
    ),
    shows="Nothing at first; then faults at addresses that were mapped correctly.",
    fix="Find who else owns these pages: keep tables in memory that nobody reclaims.",
    manual="Intel SDM volume 3A, 5.8 (accessed and dirty flags)",
    check=_check,
)
