"""A memory map that no firmware gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.input.capture.records import MemoryDescriptor
from cr3scope.message import Message, as_messages
from cr3scope.x86.names import range_words

# EFI_MEMORY_TYPE (UEFI 2.10, 7.2.1): 0..15 are defined, OEMs begin at 70000000h.
_LAST_DEFINED, _FIRST_OEM = 15, 0x7000_0000
_CONVENTIONAL = 7
_MOST_PHYS = 1 << 52
# Firmware with a few overlapping ranges is sloppy; a map read askew has them everywhere.
_LEAST_OVERLAPS, _OVERLAPS_IN = 2, 8


def _check(context: Context) -> Iterator[Finding]:
    descriptors = context.boot.memory_map
    broken = [words for d in descriptors if (words := _nonsense(d))]
    overlaps = _overlaps(descriptors)
    if not broken and len(overlaps) < max(_LEAST_OVERLAPS, len(descriptors) / _OVERLAPS_IN):
        return
    usable = sum(d.last - d.first + 1 for d in descriptors if d.type == _CONVENTIONAL)
    total = len(descriptors)
    lines = [
        *[*broken, *overlaps][:MOST_NAMED],
        f"of {total} descriptors, {len(broken)} are impossible, {len(overlaps)} overlap others",
        f"conventional memory in it: {usable >> 20} MiB",
    ]
    yield RULE.finding(
        Message("the memory map makes no sense: it was walked with sizeof instead of DescriptorSize"),
        *as_messages("\n".join(lines)),
    )


def _nonsense(descriptor: MemoryDescriptor) -> str | None:
    where = range_words(descriptor.first, descriptor.last)
    if _LAST_DEFINED < descriptor.type < _FIRST_OEM:
        return f"{where} has type {descriptor.type:#x}, which no specification knows"
    if descriptor.first > descriptor.last:
        return f"{where} ends before it begins"
    if descriptor.last >= _MOST_PHYS:
        return f"{where} lies beyond any CPU's physical addresses"
    return None


def _overlaps(descriptors: Sequence[MemoryDescriptor]) -> list[str]:
    """Each descriptor that begins inside one that began before it."""
    found = []
    reach: MemoryDescriptor | None = None
    for descriptor in sorted(descriptors, key=lambda d: (d.first, d.last)):
        if reach is not None and descriptor.first <= reach.last:
            one = range_words(reach.first, reach.last)
            found.append(f"{range_words(descriptor.first, descriptor.last)} overlaps {one}")
        if reach is None or descriptor.last > reach.last:
            reach = descriptor
    return found


RULE = Rule(
    id="descriptor-stride",
    title="the memory map was walked with the wrong stride",
    severity=Severity.ERROR,
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
