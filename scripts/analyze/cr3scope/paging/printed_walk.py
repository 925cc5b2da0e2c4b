"""A walk that somebody printed, of which no table is at hand: which of its entries refuses an access.

Tables of 32-bit guests are read as well: those of PAE, and those of two levels (SDM 3A, 5.3 and 5.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cr3scope.paging.walk import AccessKind, PageFault, Reason, Walk, refusal, stops
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState

_PAE_ROOT, _SHORT_ROOT = 3, 2  # the level of CR3's table outside long mode
_ALL_RIGHTS = bits.WRITABLE | bits.USER


@dataclass(frozen=True, slots=True)
class Printed:
    """The entries from the top, without their own addresses: ``phys`` is 0.

    ``is_whole``: they lead to a leaf, or to an entry that ends the walk; else the print is cut.
    ``refused`` and ``guilty`` are None and empty if what is printed allows the access.
    """

    entries: tuple[EntryRef, ...]
    is_whole: bool
    refused: Reason | None
    guilty: tuple[EntryRef, ...]


def judge_printed(
    levels: Sequence[tuple[int, int]], virt: int, cpu: CpuState, kind: AccessKind, user: bool, reserved: bool | None = None
) -> Printed:
    """Return which entry refuses an access; ``levels`` are (level, value) from the root down.

    ``reserved``: whether the error code tells of a reserved bit, None if there is no code. Which bits are reserved depends
    on the CPU: with True, every entry that may be the one is guilty.
    """
    root = levels[0][0] if levels else 0
    entries = tuple(EntryRef(level, _index(virt, level, root), 0, value) for level, value in levels)
    whole = False
    for number, entry in enumerate(entries):
        if stops(entry.level, entry.value, cpu) is Reason.NOT_PRESENT:
            met = entries[: number + 1]
            return Printed(met, True, Reason.NOT_PRESENT, met[-1:])
        if _is_leaf(entry, root):
            entries, whole = entries[: number + 1], True
            break
    if reserved:
        return Printed(entries, whole, Reason.RESERVED, tuple(entry for entry in entries if _may_be_reserved(entry, root)))
    path = Walk(virt, tuple(_with_rights(entry, root) for entry in entries), None)
    fault = refusal(path, cpu, kind, user) if entries else None
    if not whole and fault is not None and fault.reason in _OF_THE_LEAF:
        fault = None
    return Printed(entries, whole, fault.reason if fault else None, _of(entries, fault))


_OF_THE_LEAF = (Reason.SMEP, Reason.SMAP, Reason.PROTECTION_KEY)  # of all levels together, or of the leaf


def _index(virt: int, level: int, root: int) -> int:
    if root == _SHORT_ROOT:
        return virt >> (22 if level == _SHORT_ROOT else bits.PAGE_SHIFT) & 1023
    index = bits.level_index(virt, level)
    return index & 3 if root == _PAE_ROOT and level == root else index


def _is_leaf(entry: EntryRef, root: int) -> bool:
    """Whether the walk ends at a present entry. A PDPTE of PAE has no PS."""
    return bits.is_leaf(entry.value, entry.level) and not (root == _PAE_ROOT == entry.level)


def _with_rights(entry: EntryRef, root: int) -> EntryRef:
    """The entry as long mode would have it: a PDPTE of PAE denies nothing (SDM 3A, table 5-8)."""
    return replace(entry, value=entry.value | _ALL_RIGHTS) if root == _PAE_ROOT == entry.level else entry


def _may_be_reserved(entry: EntryRef, root: int) -> bool:
    """Whether some CPU holds a bit of a present entry for reserved."""
    if root == _SHORT_ROOT:
        return _is_leaf(entry, root) and entry.level == _SHORT_ROOT  # bits of the address of a page of 4 MiB
    if root == _PAE_ROOT == entry.level:
        return False  # the load of CR3 checks these (SDM 3A, 5.4.1)
    strictest = CpuState(0, efer=0, max_phys_bits=bits.LEAST_PHYS_BITS, has_1g_pages=False, is_amd=True)
    high = entry.value >> 52 & 0x7FF if root == _PAE_ROOT else 0  # ignored in long mode alone
    return bool(high) or stops(entry.level, entry.value, strictest) is not None


def _of(entries: Sequence[EntryRef], fault: PageFault | None) -> tuple[EntryRef, ...]:
    places = {(entry.level, entry.index) for entry in fault.guilty} if fault else set()
    return tuple(entry for entry in entries if (entry.level, entry.index) in places)
