"""Page tables that the CPU cannot, or is told not to, cache."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.arrays import integers
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.paging.range_kind import MEMORY_TYPES
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import (
    ADDRESS_MASK,
    CACHE_DISABLE,
    ENTRY_BYTES,
    PRESENT,
    WRITE_THROUGH,
    is_leaf,
)
from cr3scope.x86.mode import PAGED

_WRITE_BACK = 0x8  # EFI_MEMORY_WB: the memory can be cached so (UEFI 2.10, table 7.7)
_BITS = ((WRITE_THROUGH, "PWT"), (CACHE_DISABLE, "PCD"))
_UNCACHED = WRITE_THROUGH | CACHE_DISABLE


def _check(context: Context) -> Iterator[Finding]:
    yield from _memory(context)
    yield from _entries(context)


def _memory(context: Context) -> Iterator[Finding]:
    """The firmware's word on the memory in which the tables lie."""
    memory_map = sorted(context.boot.memory_map, key=lambda descriptor: descriptor.first)
    if not any(descriptor.attributes & _WRITE_BACK for descriptor in memory_map):
        return  # attributes were not recorded
    for record in context.boot.tables:
        place = bisect.bisect_right(memory_map, record.phys, key=lambda each: each.first) - 1
        descriptor = memory_map[max(place, 0)]
        inside = descriptor.first <= record.phys <= descriptor.last
        if inside and not descriptor.attributes & _WRITE_BACK:
            finding = RULE.finding(
                message(
                    "table page {phys} of level {level} is in memory that cannot be write-back",
                    phys=Hex(record.phys), level=record.level,
                ),
                message(
                    "the firmware's map gives it the attributes {attributes}",
                    attributes=Hex(descriptor.attributes),
                ),
            )  # fmt: skip
            yield replace(finding, source=context.attribution.line(record.caller))
            return


def _entries(context: Context) -> Iterator[Finding]:
    """PWT and PCD of an entry that leads to a table select how that table is read."""
    if not context.cpu.pat:
        return
    known = {record.phys for record in context.boot.tables}
    for record in context.boot.tables:
        entries = context.tables.table(record.phys) if record.level > 1 else None
        if entries is None:
            continue
        suspects = np.flatnonzero(entries & np.uint64(_UNCACHED))
        for index, value in zip(integers(suspects), integers(entries[suspects])):
            if not value & PRESENT or is_leaf(value, record.level):
                continue
            # The bits are those of PAT indices 1 to 3 (SDM 3A, 5.9.2).
            field = context.cpu.pat >> 8 * ((value & _UNCACHED) // WRITE_THROUGH) & 0xFF
            kind = MEMORY_TYPES.get(field, "reserved")
            if value & ADDRESS_MASK not in known or kind == "wb":
                continue
            entry = EntryRef(record.level, index, record.phys + ENTRY_BYTES * index, value)
            title = message(
                "{entry} has {bits:and}: the table below it is read {memory_type}",
                entry=entry, bits=tuple(name for bit, name in _BITS if value & bit), memory_type=kind,
            )  # fmt: skip
            source = context.attribution.source(entry, 0)
            proof = message("{entry:full}", entry=entry)
            yield replace(RULE.finding(title, proof), entry=entry, source=source)
            return


RULE = Rule(
    id="table-memory-type",
    title="page tables are not read write-back",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "The CPU reads a table with the type that PWT and PCD of the entry above it select, "
        "weakened by the MTRRs. Uncached tables make every miss of the TLB slow, and a table in a "
        "device's memory need not answer such reads at all. TCG does not model memory types."
    ),
    shows="Nothing on an emulator; on hardware a machine that is slow everywhere.",
    fix="Put tables into write-back memory, and clear PWT and PCD in entries that lead to tables.",
    manual="Intel SDM volume 3A, 5.9.2 (PWT and PCD of paging structures); UEFI 2.10, table 7.7",
    check=_check,
    needs=SWITCH,
)
