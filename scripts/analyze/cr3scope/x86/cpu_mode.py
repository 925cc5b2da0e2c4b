"""The CPU's mode of operation (Intel SDM volume 3A, 2.2); with the mode of paging it is told by `mode.py`."""

from __future__ import annotations

from enum import Enum

from cr3scope.x86.cpu_state import CR0_PE, EFER_LMA
from cr3scope.x86.descriptors import GATE_BYTES, SHORT_GATE_BYTES, VECTOR_BYTES


class CpuMode(Enum):
    """How segments, gates and stacks are made. LONG: 64-bit and compatibility mode, which share their IDT."""

    REAL = "real mode"
    PROTECTED = "protected mode"
    LONG = "long mode"

    @property
    def gate_bytes(self) -> int:
        """Return how many bytes one entry of the IDT has (SDM 3A, 7.11 and 7.14.1; 22.1.4 for real mode)."""
        return {CpuMode.REAL: VECTOR_BYTES, CpuMode.PROTECTED: SHORT_GATE_BYTES}.get(self, GATE_BYTES)


def cpu_mode(cr0: int, efer: int) -> CpuMode:
    """Return the mode that CR0.PE and EFER.LMA tell (SDM 3A, 2.2)."""
    if efer & EFER_LMA:
        return CpuMode.LONG
    return CpuMode.PROTECTED if cr0 & CR0_PE else CpuMode.REAL
