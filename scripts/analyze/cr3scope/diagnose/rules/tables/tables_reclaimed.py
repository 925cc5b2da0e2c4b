"""Something that must outlive the loader sits in memory that the kernel will hand out."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.input.capture.records import MemoryDescriptor
from cr3scope.message import Fact, Message, Span, message
from cr3scope.x86.entry import PAGE_OFFSET
from cr3scope.x86.mode import ALL_MODES

# EFI_MEMORY_TYPE (UEFI 2.10, table 7.6): free once ExitBootServices has returned.
_RECLAIMED = {3: "EfiBootServicesCode", 4: "EfiBootServicesData", 7: "EfiConventionalMemory"}
_MUST_LAST = frozenset({"stack", "boot-info", "memory-map", "initrd", "tables", "gdt", "idt", "tss"})


def _check(context: Context) -> Iterator[Finding]:
    memory_map = sorted(context.boot.memory_map, key=lambda descriptor: descriptor.first)
    if not memory_map:
        return
    pages: list[tuple[int | str, Span]] = [
        (record.level, Span(record.phys, record.phys + PAGE_OFFSET)) for record in context.boot.tables
    ]
    ranges = [
        (named.label, Span(named.phys, named.phys + named.size - 1))
        for named in [*context.intent.maps, *context.intent.segments]
        if named.phys is not None and (named.role in _MUST_LAST or named.caller is None)
    ]
    found = []
    for what, kept in [*pages, *ranges]:
        descriptor = next(_reclaimed(memory_map, kept.first, kept.last), None)
        if descriptor is not None:
            found.append((what, kept, _RECLAIMED[descriptor.type]))
    if found:
        first, *others = (_lies(number, *each) for number, each in enumerate(found[:MOST_NAMED], 1))
        if len(found) > MOST_NAMED:
            others.append(message("and {more} more", more=len(found) - MOST_NAMED))
        yield RULE.finding(message("{what}: the kernel may hand it out", what=first), *others)


def _lies(number: int, what: int | str, kept: Span, efi_type: str) -> Message:
    """Where the ``number``-th thing lies; ``what``: the level of a table page, or the name of a range."""
    level, name, where, memory = (numbered(each, number) for each in ("level", "name", "range", "efi_type"))
    facts: dict[str, Fact] = {where: kept, memory: efi_type}
    if isinstance(what, int):
        words = f"table page of level {{{level}}} at {{{where}}} is in {{{memory}}}"
        return Message(words, {level: what, **facts})
    return Message(f"{{{name}}} at {{{where}}} is in {{{memory}}}", {name: what, **facts})


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
    modes=ALL_MODES,
    reason=(
        "After ExitBootServices a kernel takes boot-services and conventional memory for its own. "
        "Page tables, stacks or boot information that lie there are overwritten at some later time."
    ),
    shows="Nothing at the switch; later, random faults that move from run to run.",
    fix="Allocate with AllocatePages as EfiLoaderData (or an own type) what the kernel is to keep.",
    manual="UEFI 2.10, 7.2 (tables 7.5 and 7.6)",
    check=_check,
)
