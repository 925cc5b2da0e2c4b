"""What of the CPU's state decides how an address is translated."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from cr3scope.dataclass import dataclass

CR0_PE = 1 << 0
CR0_EM = 1 << 2
CR0_TS = 1 << 3
CR0_WP = 1 << 16
CR0_PG = 1 << 31
CR3_PCID = 0xFFF  # bits 11:0 under CR4.PCIDE (SDM 3A, 2.5)
CR4_PSE = 1 << 4
CR4_PAE = 1 << 5
CR4_PGE = 1 << 7
CR4_LA57 = 1 << 12
CR4_PCIDE = 1 << 17
CR4_SMEP = 1 << 20
CR4_SMAP = 1 << 21
CR4_PKE = 1 << 22
CR4_CET = 1 << 23
CR4_PKS = 1 << 24
EFER_LME, EFER_LMA, EFER_NXE = 1 << 8, 1 << 10, 1 << 11
USER = 3  # CPL
RFLAGS_IF, RFLAGS_DF, RFLAGS_AC = 1 << 9, 1 << 10, 1 << 18
PAT_AT_RESET = 0x0007_0406_0007_0406  # SDM 3A, table 13-12


class PagingMode(Enum):
    """The modes of paging (SDM 3A, 5.1.1) by their names there; NONE: a linear address is the physical one."""

    NONE = "none"
    BITS_32 = "32-bit"
    PAE = "PAE"
    LEVELS_4 = "4-level"
    LEVELS_5 = "5-level"


DEPTHS = {  # of the tables
    PagingMode.NONE: 0, PagingMode.BITS_32: 2, PagingMode.PAE: 3, PagingMode.LEVELS_4: 4, PagingMode.LEVELS_5: 5,
}  # fmt: skip
_PD_ADDRESS, _PDPT_ADDRESS = 0xFFFF_F000, 0xFFFF_FFE0  # in CR3


@dataclass(frozen=True, slots=True)
class CpuState:
    """Control registers and CPUID facts. ``max_phys_bits`` is MAXPHYADDR (32..52).

    ``pdptes``: the four that a CPU in PAE paging has loaded with CR3; None where nobody tells, and memory is read.
    """

    cr3: int
    cr0: int = 0x8001_0033
    cr4: int = 0x668
    efer: int = 0xD00
    max_phys_bits: int = 52
    has_1g_pages: bool = True
    is_amd: bool = False
    rflags: int = 2
    pkru: int = 0
    pkrs: int = 0
    pat: int = PAT_AT_RESET
    pdptes: tuple[int, int, int, int] | None = None

    @property
    def paging_mode(self) -> PagingMode:
        """Return how the CPU translates: by CR0.PG, CR4.PAE, EFER.LMA and CR4.LA57, in this order (SDM 3A, 5.1.1)."""
        if not self.cr0 & CR0_PG:
            return PagingMode.NONE
        if not self.cr4 & CR4_PAE:
            return PagingMode.BITS_32
        if not self.efer & EFER_LMA:
            return PagingMode.PAE
        return PagingMode.LEVELS_5 if self.cr4 & CR4_LA57 else PagingMode.LEVELS_4

    @property
    def levels(self) -> int:
        """Return how deep the tables are: 5 with CR4.LA57, else 4; outside long mode 3 with PAE, else 2; 0 without paging."""
        return DEPTHS[self.paging_mode]

    def with_depth(self, levels: int) -> CpuState:
        """Return the state in that mode of paging whose tables are so deep, whatever mode this one is in.

        With two levels large pages count. Of 0 levels, which means that paging is off, PG alone is changed.
        """
        if levels == DEPTHS[PagingMode.NONE]:
            return replace(self, cr0=self.cr0 & ~CR0_PG)
        cr4, efer = self.cr4 & ~(CR4_PAE | CR4_LA57), self.efer & ~EFER_LMA
        cr4 |= CR4_PSE if levels == DEPTHS[PagingMode.BITS_32] else CR4_PAE
        if levels > DEPTHS[PagingMode.PAE]:
            efer |= EFER_LMA
        if levels == DEPTHS[PagingMode.LEVELS_5]:
            cr4 |= CR4_LA57
        return replace(self, cr0=self.cr0 | CR0_PG, cr4=cr4, efer=efer)

    @property
    def has_short_addresses(self) -> bool:
        """Return whether linear addresses have 32 bits: everywhere but in long mode, 64-bit or compatible."""
        return self.paging_mode not in (PagingMode.LEVELS_4, PagingMode.LEVELS_5)

    @property
    def has_nx(self) -> bool:
        """Return whether bit 63 of an entry forbids execution: by EFER.NXE, with PAE; else it is reserved, or not there."""
        return bool(self.efer & EFER_NXE and self.cr4 & CR4_PAE)

    @property
    def tells_fetches(self) -> bool:
        """Return whether I/D of an error code is set for a fetch: with NX, or SMEP, alone (SDM 3A, 5.7)."""
        return self.has_nx or bool(self.cr4 & CR4_SMEP)

    @property
    def root(self) -> int:
        """Return the physical address of the top table: CR3 without its flags (SDM 3A, tables 5-3, 5-7, 5-12 ff.).

        Outside long mode CR3 has 32 bits; the four PDPTEs of PAE paging lie at any multiple of 32.
        """
        mode = self.paging_mode
        if mode is PagingMode.LEVELS_4 or mode is PagingMode.LEVELS_5:
            return self.cr3 & ((1 << self.max_phys_bits) - 1) & ~0xFFF
        return self.cr3 & (_PDPT_ADDRESS if mode is PagingMode.PAE else _PD_ADDRESS)

    @property
    def cr3_reserved(self) -> int:
        """Return the bits set in CR3 that must be zero: the mov raises #GP(0) if there are any.

        With PCIDE bit 63 only spares the TLB, and is not kept (SDM 3A, 2.5, 5.10.4.1).
        """
        high = self.cr3 & -(1 << self.max_phys_bits)
        return high & ~(1 << 63) if self.cr4 & CR4_PCIDE else high
