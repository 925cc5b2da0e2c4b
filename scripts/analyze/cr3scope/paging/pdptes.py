"""The four PDPTEs of PAE paging, which a CPU loads and checks as a whole (SDM 3A, 5.4.1)."""

from __future__ import annotations

from cr3scope.arrays import integers
from cr3scope.paging.tables import Tables, root_entries
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ACCESSED, PRESENT, formats_of
from cr3scope.x86.platform import Platform, Quirk


def refused_pdptes(tables: Tables, cpu: CpuState, platform: Platform = Platform.HARDWARE) -> tuple[EntryRef, ...]:
    """Return the PDPTEs for whose reserved bits a load of CR3, or of CR0 with PG, raises #GP(0); none outside PAE paging.

    One that has bit 5 beside is not among them: TCG sets that bit in memory, and no CPU does.
    """
    formats = formats_of(cpu)
    if not formats or not formats[0].is_loaded or platform.has(Quirk.PDPTES_IN_MEMORY):
        return ()
    found = root_entries(tables, cpu)
    form = formats[0]
    mask = form.reserved_mask(0, cpu, platform) & ~ACCESSED
    values = [] if found is None else integers(found)
    return tuple(
        EntryRef.of(form, cpu.root, index, value) for index, value in enumerate(values) if value & PRESENT and value & mask
    )
