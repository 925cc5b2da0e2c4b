"""An entry outside long mode that holds the virtual address of its table, told by what the table holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, message
from cr3scope.paging.tables import table_entries
from cr3scope.paging.walk import PageFault, Reason
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PAGE_FRAME, PRESENT, formats_of
from cr3scope.x86.names import covered
from cr3scope.x86.word import FOUR_GIB

_STEP = 1 << 28  # kernels map physical memory at a multiple of this


def virtual_pointer(now: StoppedCpu, cpu: CpuState, refused: PageFault) -> Iterator[Finding]:
    """Yield at most one finding: the refusing entry points to where the machine has no RAM, and below it, at the distance by
    which the refused address itself lies above its frame, is the table that maps it so."""
    ranges = tuple(now.ram())
    if refused.reason is not Reason.TABLE_UNREADABLE or not ranges or not cpu.has_short_addresses:
        return
    entry = refused.guilty[0]
    form = next((one for one in formats_of(cpu) if one.level == entry.level - 1), None)
    address = entry.frame
    if form is None or any(first <= address <= last for first, last in ranges):
        return
    for distance in range(_STEP, FOUR_GIB, _STEP):
        phys = address - distance
        table = table_entries(now, form, phys) if any(first <= phys <= last for first, last in ranges) else None
        value = 0 if table is None else int(table[form.index(refused.virt)])
        meant = refused.virt - distance & -form.page_bytes & PAGE_FRAME
        if value & PRESENT and form.is_leaf(value) and form.frame(value) == meant:
            found = BY_ID["virt-address-in-entry"].finding(
                message("{entry} holds the virtual address {virt}; the table lies at physical {phys}",
                        entry=entry, virt=Hex(address), phys=Hex(phys)),
                message("the machine has no RAM at {virt}; the table at {phys} maps {refused} to {frame}",
                        virt=Hex(address), phys=Hex(phys), refused=Hex(refused.virt), frame=Hex(meant)),
            )  # fmt: skip
            yield replace(found, entry=entry, range=covered(entry, refused.virt))
            return
