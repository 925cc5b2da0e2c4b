"""What the verbs work on: page tables and the CPU state that reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cr3scope.paging.tables import Tables
from cr3scope.x86.cpu_state import CpuState

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

    @property
    def description(self) -> str:
        """Return in words which address space this is."""
        return f"{self.container}, CR3 {self.cpu.cr3:#x}"


@dataclass(frozen=True, slots=True)
class Overrides:
    """Registers that the user names, since the source does not tell them or tells others."""

    cr3: int | None = None
    cr4: int | None = None
    efer: int | None = None

    def apply(self, cpu: CpuState) -> CpuState:
        """Return ``cpu`` with the registers that were named."""
        return replace(
            cpu,
            cr3=cpu.cr3 if self.cr3 is None else self.cr3,
            cr4=cpu.cr4 if self.cr4 is None else self.cr4,
            efer=cpu.efer if self.efer is None else self.efer,
        )

    def assumed(self, cpu: CpuState, *registers: str) -> list[str]:
        """Return a warning about those of the registers that the user did not name either."""
        unnamed = [name for name in registers if getattr(self, name) is None]
        if not unnamed:
            return []
        values = " and ".join(f"{name.upper()} {getattr(cpu, name):#x}" for name in unnamed)
        options = ", ".join(f"--{name}" for name in unnamed)
        return [f"the source does not tell {values}: assumed (see {options})"]
