"""What of the CPU's state decides how an address is translated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

CR0_PE = 1 << 0
CR0_EM = 1 << 2
CR0_TS = 1 << 3
CR0_WP = 1 << 16
CR0_PG = 1 << 31
CR3_PCID = 0xFFF  # bits 11:0 under CR4.PCIDE (SDM 3A, 2.5)
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
RFLAGS_IF, RFLAGS_AC = 1 << 9, 1 << 18
PAT_AT_RESET = 0x0007_0406_0007_0406  # SDM 3A, table 13-12


class PagingMode(Enum):
    """The modes of paging (SDM 3A, 5.1.1); NONE: a linear address is the physical one."""

    NONE = auto()
    BITS_32 = auto()
    PAE = auto()
    LEVELS_4 = auto()
    LEVELS_5 = auto()


@dataclass(frozen=True, slots=True)
class CpuState:
    """Control registers and CPUID facts. ``max_phys_bits`` is MAXPHYADDR (32..52)."""

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
        """Return how deep the tables are: 5 with CR4.LA57 in long mode, else 4."""
        return 5 if self.paging_mode is PagingMode.LEVELS_5 else 4

    @property
    def has_nx(self) -> bool:
        """Return whether bit 63 of an entry forbids execution; without EFER.NXE it is reserved."""
        return bool(self.efer & EFER_NXE)

    @property
    def root(self) -> int:
        """Return the physical address of the top table: CR3 without its flags (SDM 3A, table 5-12 ff.)."""
        return self.cr3 & ((1 << self.max_phys_bits) - 1) & ~0xFFF

    @property
    def cr3_reserved(self) -> int:
        """Return the bits set in CR3 that must be zero: the mov raises #GP(0) if there are any.

        With PCIDE bit 63 only spares the TLB, and is not kept (SDM 3A, 2.5, 5.10.4.1).
        """
        high = self.cr3 & -(1 << self.max_phys_bits)
        return high & ~(1 << 63) if self.cr4 & CR4_PCIDE else high
