"""Which mode of paging a CPU is in."""

from __future__ import annotations

import pytest

from cr3scope.x86.cpu_state import CR0_PG, CR4_LA57, CR4_PAE, EFER_LMA, EFER_LME, CpuState, PagingMode


@pytest.mark.parametrize(("cr0", "cr4", "efer", "mode"), [
    (0x11, CR4_PAE | CR4_LA57, EFER_LME | EFER_LMA, PagingMode.NONE),
    (CR0_PG | 0x11, 0, EFER_LME, PagingMode.BITS_32),
    (CR0_PG | 0x11, CR4_PAE, EFER_LME, PagingMode.PAE),
    (CR0_PG | 0x11, CR4_PAE | CR4_LA57, 0, PagingMode.PAE),
    (CR0_PG | 0x11, CR4_PAE, EFER_LME | EFER_LMA, PagingMode.LEVELS_4),
    (CR0_PG | 0x11, CR4_PAE | CR4_LA57, EFER_LME | EFER_LMA, PagingMode.LEVELS_5),
])  # fmt: skip
def test_pg_pae_lma_and_la57_decide_in_this_order(cr0: int, cr4: int, efer: int, mode: PagingMode) -> None:
    assert CpuState(cr3=0x1000, cr0=cr0, cr4=cr4, efer=efer).paging_mode is mode
