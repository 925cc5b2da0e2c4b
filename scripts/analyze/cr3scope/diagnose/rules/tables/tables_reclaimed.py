"""Something that must outlive the loader sits in memory that the kernel will hand out."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.input.capture.records import MemoryDescriptor
from cr3scope.message import Message, as_messages
from cr3scope.x86.entry import PAGE_OFFSET
from cr3scope.x86.names import range_words

# EFI_MEMORY_TYPE (UEFI 2.10, table 7.6): free once ExitBootServices has returned.
_RECLAIMED = {3: "EfiBootServicesCode", 4: "EfiBootServicesData", 7: "EfiConventionalMemory"}
_MUST_LAST = frozenset({"stack", "boot-info", "memory-map", "initrd", "tables", "gdt", "idt", "tss"})


def _check(context: Context) -> Iterator[Finding]:
    memory_map = sorted(context.boot.memory_map, key=lambda descriptor: descriptor.first)
    if not memory_map:
        return
    pages = [
        (f"table page of level {record.level}", record.phys, record.phys + PAGE_OFFSET)
        for record in context.boot.tables
    ]
    ranges = [
        (named.label, named.phys, named.phys + named.size - 1)
        for named in [*context.intent.maps, *context.intent.segments]
        if named.phys is not None and (named.role in _MUST_LAST or named.caller is None)
    ]
    lines = []
    for what, first, last in [*pages, *ranges]:
        for descriptor in _reclaimed(memory_map, first, last):
            kind = _RECLAIMED[descriptor.type]
            lines.append(f"{what} at {range_words(first, last)} is in {kind}")
            break
    if lines:
        more = [f"and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []
        title = f"{lines[0]}: the kernel may hand it out"
        yield RULE.finding(Message(title), *as_messages("\n".join([*lines[1:MOST_NAMED], *more])))


def _reclaimed(
    memory_map: list[MemoryDescriptor], first: int, last: int
) -> Iterator[MemoryDescriptor]:
    at = bisect.bisect_right(memory_map, first, key=lambda descriptor: descriptor.first) - 1
    for descriptor in memory_map[max(at, 0) :]:
        if descriptor.first > last:
            return
        if descriptor.last >= first and descriptor.type in _RECLAIMED:
            yield descriptor


RULE = Rule(
    id="tables-reclaimed",
    title="tables or data in memory that is reclaimed",
    severity=Severity.ERROR,
    reason=(
        "After ExitBootServices a kernel takes boot-services and conventional memory for its own. "
        "Page tables, stacks or boot information that lie there are overwritten at some later time."
    ),
    shows="Nothing at the switch; later, random faults that move from run to run.",
    fix="Allocate with AllocatePages as EfiLoaderData (or an own type) what the kernel is to keep.",
    manual="UEFI 2.10, 7.2 (tables 7.5 and 7.6)",
    check=_check,
)
