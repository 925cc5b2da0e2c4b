"""A walk that somebody printed, of which no table is at hand: which of its entries refuses an access.

Tables of 32-bit guests are read as well: those of PAE, and those of two levels (SDM 3A, 5.3 and 5.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.paging.walk import AccessKind, Reason, Walk, refusal
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import EFER_NXE, CpuState



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
    if levels:
        cpu = cpu.with_depth(levels[0][0])
    formats = {form.level: form for form in bits.formats_of(cpu)}
    told = [(formats.get(level) or bits.long_format(level), value) for level, value in levels]
    entries = tuple(replace(EntryRef.of(form, 0, form.index(virt), value), phys=0) for form, value in told)
    whole = False
    for number, entry in enumerate(entries):
        if not entry.value & bits.PRESENT:
            met = entries[: number + 1]
            return Printed(met, True, Reason.NOT_PRESENT, met[-1:])
        if entry.is_leaf:
            entries, whole = entries[: number + 1], True
            break
    if reserved:
        return Printed(entries, whole, Reason.RESERVED, tuple(entry for entry in entries if _may_be_reserved(entry, cpu)))
    fault = refusal(Walk(virt, entries, None), cpu, kind, user) if entries else None
    if not whole and fault is not None and fault.reason in _OF_THE_LEAF:
        fault = None
    return Printed(entries, whole, fault.reason if fault else None, fault.guilty if fault else ())


_OF_THE_LEAF = (Reason.SMEP, Reason.SMAP, Reason.PROTECTION_KEY)  # of all levels together, or of the leaf


def _may_be_reserved(entry: EntryRef, cpu: CpuState) -> bool:
    """Whether some CPU holds a bit of a present entry for reserved; of a PDPTE of PAE the load of CR3 checks them."""
    form = entry.form
    strictest = replace(
        cpu, efer=cpu.efer & ~EFER_NXE, max_phys_bits=form.sure_phys_bits, has_1g_pages=False, is_amd=True
    )
    return bool(entry.value & form.checked_mask(entry.value, strictest))
