"""What the verbs work on: page tables and the CPU state that reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.paging.tables import Tables
from cr3scope.x86.cpu_state import CR4_LA57, CR4_PAE, EFER_LMA, CpuState, PagingMode

if TYPE_CHECKING:
    from cr3scope.input.capture.records import Boot

DUMPS = ("new", "old", "after")  # of a capture


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source. ``warnings`` say what was assumed or is wrong, one line each.

    ``container`` is what holds the tables: "ELF core", "dump `new` of the capture". Unless
    ``tells_pat``, the PAT in ``cpu`` is its value at reset.
    """

    container: str
    tables: Tables
    cpu: CpuState
    boot: Boot | None = None
    warnings: tuple[str, ...] = ()
    tells_pat: bool = False
    dump: str = ""  # which of ``DUMPS`` of a capture
    is_partial: bool = False  # it may hold less than the machine has

    @property
    def description(self) -> str:
        """Return in words which address space this is; the mode of paging where it is none of long mode."""
        mode = f", {self.cpu.paging_mode.value} paging" if self.cpu.has_short_addresses else ""
        return f"{self.container}, CR3 {self.cpu.cr3:#x}{mode}"


@dataclass(frozen=True, slots=True)
class Overrides:
    """Registers that the user names, since the source does not tell them or tells others."""

    cr0: int | None = None
    cr3: int | None = None
    cr4: int | None = None
    efer: int | None = None

    def apply(self, cpu: CpuState) -> CpuState:
        """Return ``cpu`` with the registers that were named.

        Named alone, EFER tells of NX and leaves the CPU in long mode or outside; named without EFER, a CR4 with LA57 is
        that of long mode, and one without PAE is not.
        """
        cr0, cr3, cr4, efer = (
            own if named is None else named
            for named, own in ((self.cr0, cpu.cr0), (self.cr3, cpu.cr3), (self.cr4, cpu.cr4), (self.efer, cpu.efer))
        )
        if self.cr4 is None:
            efer = efer & ~EFER_LMA | cpu.efer & EFER_LMA
        elif self.efer is None:
            cr4 |= CR4_PAE if cr4 & CR4_LA57 else 0
            efer &= -1 if cr4 & CR4_PAE else ~EFER_LMA
        return replace(cpu, cr0=cr0, cr3=cr3, cr4=cr4, efer=efer)

    def assumed(self, cpu: CpuState, *registers: str) -> list[str]:
        """Return a warning about those of the registers that the user did not name either; EFER means nothing in 32-bit paging."""
        has_efer = cpu.paging_mode is not PagingMode.BITS_32
        unnamed = [name for name in registers if getattr(self, name) is None and (has_efer or name != "efer")]
        if not unnamed:
            return []
        values = " and ".join(f"{name.upper()} {getattr(cpu, name):#x}" for name in unnamed)
        options = ", ".join(f"--{name}" for name in unnamed)
        return [f"the source does not tell {values}: assumed (see {options})"]
