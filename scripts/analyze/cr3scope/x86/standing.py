"""Where a CPU stands."""

from __future__ import annotations

from cr3scope.dataclass import dataclass



@dataclass(frozen=True, slots=True)
class Standing:
    """Where the CPU that is to be judged was found, and what could still move it."""

    cpu: int  # QEMU's number of it
    rip: int
    halted: bool
    interrupts_on: bool
