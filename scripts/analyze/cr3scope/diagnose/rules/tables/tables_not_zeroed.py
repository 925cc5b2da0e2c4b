"""Entries that nobody wrote: the page held these bytes before it became a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.arrays import integers
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.garbage import garbage
from cr3scope.diagnose.shared.meant import Meant, unless_struck
from cr3scope.message import message
from cr3scope.x86.access import EntryRef
from cr3scope.x86.mode import PAGED
from cr3scope.x86.names import covered


def _check(context: Context) -> Iterator[Finding]:
    meant = Meant(context.intent)
    levels = {record.phys: record.level for record in context.boot.tables}
    first: tuple[EntryRef, int] | None = None
    count = 0
    for stage in context.facts.stages:
        own = [levels.get(phys) == stage.form.level for phys in integers(stage.phys)]
        unasked = stage.present & np.array(own, dtype=np.bool_)[:, np.newaxis]
        unasked &= ~meant.is_below(stage, unasked)
        if unasked.any():
            wrong = garbage(context, stage, unasked)
            count += int(wrong.sum())
            first = first or next(stage.places(wrong), None)
    if first is None:
        return
    entry, virt = first
    proof = message("{entry:full} leads to no table and to no memory that the trace names", entry=entry)
    if count > 1:
        proof = message("{nowhere}; so do {more} more that nobody asked for", nowhere=proof, more=count - 1)
    title = message("{entry} is garbage, in a table that the loader made", entry=entry)
    finding = RULE.finding(title, proof)
    named = unless_struck(context, entry)
    source = context.attribution.source(entry, virt)
    yield replace(finding, entry=named, range=covered(entry, virt), source=source)


RULE = Rule(
    id="tables-not-zeroed",
    title="a table page was not cleared",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "A page from AllocatePages holds whatever was there before. Every entry of a table that "
        "the loader does not write must be zero: what is left has its P bit set by chance, and the "
        "CPU follows it to memory that is no table, also for a speculative access."
    ),
    shows=(
        "Nothing until somebody walks there; then v=0e with RSVD, or wrong memory and no fault. "
        "Hardware may walk there by itself, and hang or raise a machine check on a bad address."
    ),
    fix="Clear the 4096 bytes of each page before the first entry of the table is written.",
    manual="UEFI 2.10, 7.2 (AllocatePages does not clear); Intel SDM volume 3A, 5.5 and 5.10.3",
    check=_check,
    needs=SWITCH,
)
