"""Paging that was turned on without long mode, over tables that were made for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, Message, message
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import CR0_PG, CR4_PAE, DEPTHS, EFER_LMA, EFER_LME, PagingMode
from cr3scope.x86.entry import PAGE_BYTES, PRESENT, WRITABLE

_CONTROL = ("CR0", "CR3", "CR4", "EFER")


def long_mode_off(snapshot: StoppedCpu, at_fault: Mapping[str, int]) -> Iterator[Finding]:
    """Yield at most one finding, none of a guest that wants no long mode.

    ``at_fault``: registers, as far as they are known. QmpError if QEMU stops answering.
    """
    known = {**snapshot.registers, **at_fault}
    cr0, cr3, cr4, efer = (known.get(name, 0) for name in _CONTROL)
    if efer & EFER_LMA and (cr4 & CR4_PAE or not cr0 & CR0_PG):
        return
    state = message("CR0={cr0}, CR3={cr3}, CR4={cr4}, EFER={efer}",
                    cr0=Hex(cr0), cr3=Hex(cr3), cr4=Hex(cr4), efer=Hex(efer))  # fmt: skip
    finding = BY_ID["long-mode-off"].finding
    if efer & EFER_LMA:
        title = "CR4.PAE was cleared in long mode: the PML4 is taken for a page directory"
        yield finding(Message(title), state, Message("hardware raises #GP(0) at the mov to CR4, QEMU's TCG executes it"))
    elif efer & EFER_LME and not cr4 & CR4_PAE:
        title = "CR4.PAE is 0 where EFER.LME is 1: CR0.PG cannot be set"
        yield finding(Message(title), state, Message("hardware raises #GP(0) at the mov to CR0, QEMU's TCG ignores it"))
    elif cr0 & CR0_PG and cr4 & CR4_PAE and not efer & EFER_LME:
        table = snapshot.table(cr3 & -PAGE_BYTES)
        both = PRESENT | WRITABLE  # R/W is a reserved bit of a PDPTE there (SDM 3A, table 5-8)
        if table is not None and int(table[0]) & both == both and _is_for_long_mode(snapshot, known):
            title = "paging was turned on with EFER.LME=0: the PML4 is taken for a PDPT of 32-bit code"
            yield finding(Message(title), state, message("entry 0 at CR3 is {first_entry}", first_entry=Hex(table[0])))


def _is_for_long_mode(snapshot: StoppedCpu, known: Mapping[str, int]) -> bool:
    """Whether the code lies where these tables map it in long mode, and not in the mode that is on: QEMU's TCG takes a PDPTE
    that has R/W, so that it alone shows nothing."""
    cr0, cr3, cr4, efer = (known.get(name, 0) for name in _CONTROL)
    cpu = replace(snapshot.cpu, cr0=cr0, cr3=cr3, cr4=cr4, efer=efer)
    place = snapshot.delivery_registers.linear("cs", known.get("RIP", 0))
    phys = [walk(snapshot, cpu.with_depth(DEPTHS[mode]), place, snapshot.platform).phys for mode in (PagingMode.LEVELS_4, PagingMode.PAE)]
    return phys[0] == place != phys[1]
