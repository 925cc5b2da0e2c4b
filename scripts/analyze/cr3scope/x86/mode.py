"""The modes that a CPU passes on its way from the reset to 64-bit code, and those in which something can be (SDM 3A, 2.2 and 5.1.1).

How segments, gates and stacks are made in it is told by `cpu_mode.py`.
"""

from __future__ import annotations

from enum import Enum

from cr3scope.x86.cpu_state import CR0_PE, CpuState, PagingMode


class Mode(Enum):
    """Where a CPU is on that way. Compatibility mode is of LEVELS_4 or LEVELS_5, whose tables and gates it has."""

    REAL = "real mode"
    PROTECTED = "protected mode without paging"
    BITS_32 = "32-bit paging"
    PAE = "PAE paging"
    LEVELS_4 = "4-level paging"
    LEVELS_5 = "5-level paging"


_OF_PAGING = {
    PagingMode.NONE: Mode.PROTECTED, PagingMode.BITS_32: Mode.BITS_32, PagingMode.PAE: Mode.PAE,
    PagingMode.LEVELS_4: Mode.LEVELS_4, PagingMode.LEVELS_5: Mode.LEVELS_5,
}  # fmt: skip

OF_FILES: frozenset[Mode] = frozenset()  # of what no CPU runs yet
ALL_MODES = frozenset(Mode)
REAL = frozenset({Mode.REAL})
LONG = frozenset({Mode.LEVELS_4, Mode.LEVELS_5})
BITS_32 = frozenset({Mode.BITS_32})
WITH_NX = LONG | {Mode.PAE}
PAGED = WITH_NX | BITS_32
PROTECTED = PAGED | {Mode.PROTECTED}  # with segments that descriptors make, and gates


def mode_of(cpu: CpuState) -> Mode:
    """Return the mode that the control registers tell. Without CR0.PE it is real mode, whatever else is set."""
    return _OF_PAGING[cpu.paging_mode] if cpu.cr0 & CR0_PE else Mode.REAL
