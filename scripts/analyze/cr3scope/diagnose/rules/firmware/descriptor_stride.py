"""A memory map that no firmware gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.input.capture.records import MemoryDescriptor
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.message import Fact, Hex, Message, Span, message
from cr3scope.x86.mode import ALL_MODES

# EFI_MEMORY_TYPE (UEFI 2.10, 7.2.1): 0..15 are defined, OEMs begin at 70000000h.
_LAST_DEFINED, _FIRST_OEM = 15, 0x7000_0000
_CONVENTIONAL = 7
_MOST_PHYS = 1 << 52
# Firmware with a few overlapping ranges is sloppy; a map read askew has them everywhere.
_LEAST_OVERLAPS, _OVERLAPS_IN = 2, 8

_Overlap = tuple[MemoryDescriptor, MemoryDescriptor]


def _check(context: Context) -> Iterator[Finding]:
    descriptors = context.boot.memory_map
    broken = [d for d in descriptors if _nonsense(d, 1)]
    overlaps = _overlaps(descriptors)
    if not broken and len(overlaps) < max(_LEAST_OVERLAPS, len(descriptors) / _OVERLAPS_IN):
        return
    usable = sum(d.last - d.first + 1 for d in descriptors if d.type == _CONVENTIONAL)
    yield RULE.finding(
        Message("the memory map makes no sense: it was walked with sizeof instead of DescriptorSize"),
        *_examples(broken, overlaps),
        message(
            "of {descriptors} descriptors, {impossible} are impossible, {overlapping} overlap others",
            descriptors=len(descriptors),
            impossible=len(broken),
            overlapping=len(overlaps),
        ),
        message("conventional memory in it: {conventional_mib} MiB", conventional_mib=usable >> 20),
    )


def _examples(broken: Sequence[MemoryDescriptor], overlaps: Sequence[_Overlap]) -> Iterator[Message]:
    for number, descriptor in enumerate(broken[:MOST_NAMED], 1):
        nonsense = _nonsense(descriptor, number)
        if nonsense is not None:
            yield nonsense
    first = len(broken) + 1
    for number, (descriptor, other) in enumerate(overlaps[: max(MOST_NAMED - len(broken), 0)], first):
        where, reach = numbered("range", number), numbered("other_range", number)
        facts: dict[str, Fact] = {where: _span(descriptor), reach: _span(other)}
        yield message(f"{{{where}}} overlaps {{{reach}}}", **facts)


def _span(descriptor: MemoryDescriptor) -> Span:
    return Span(descriptor.first, descriptor.last)


def _nonsense(descriptor: MemoryDescriptor, number: int) -> Message | None:
    """What is impossible about one descriptor, None if nothing is. ``number``: of its facts' names."""
    where, kind = numbered("range", number), numbered("type", number)
    facts: dict[str, Fact] = {where: _span(descriptor)}
    if _LAST_DEFINED < descriptor.type < _FIRST_OEM:
        facts[kind] = Hex(descriptor.type)
        return message(f"{{{where}}} has type {{{kind}}}, which no specification knows", **facts)
    if descriptor.first > descriptor.last:
        return message(f"{{{where}}} ends before it begins", **facts)
    if descriptor.last >= _MOST_PHYS:
        return message(f"{{{where}}} lies beyond any CPU's physical addresses", **facts)
    return None


def _overlaps(descriptors: Sequence[MemoryDescriptor]) -> list[_Overlap]:
    """Each descriptor that begins inside one that began before it, and that one."""
    found = []
    reach: MemoryDescriptor | None = None
    for descriptor in sorted(descriptors, key=lambda d: (d.first, d.last)):
        if reach is not None and descriptor.first <= reach.last:
            found.append((descriptor, reach))
        if reach is None or descriptor.last > reach.last:
            reach = descriptor
    return found


RULE = Rule(
    id="descriptor-stride",
    title="the memory map was walked with the wrong stride",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "Firmware may make its descriptors larger than the struct of the headers, and does: 48 "
        "bytes where sizeof says 40. A walk in steps of sizeof reads the fields of all later ones "
        "askew: sizes as addresses, attributes as types."
    ),
    shows=(
        "Absurd ranges and types; hardly any usable memory; later, allocation from memory in use."
    ),
    fix="Step by the DescriptorSize that GetMemoryMap returned, and hand it to the kernel.",
    manual="UEFI 2.10, 7.2.3 (EFI_BOOT_SERVICES.GetMemoryMap)",
    check=_check,
)
