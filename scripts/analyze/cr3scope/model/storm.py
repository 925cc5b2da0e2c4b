"""Where a storm ends: a handler that faults again and again while each frame is pushed below the last.

Without an IST, RSP falls by one frame each time until a push meets a page that it may not write, or
overwrites something that delivery itself reads (the GDT, the IDT, a page table).
"""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.dataclass import dataclass
from cr3scope.message import Message
from cr3scope.model.delivery import Delivery
from cr3scope.paging.walk import PageFault
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MASK64

_FRAME_BYTES = {
    CpuMode.LONG: 48,  # six quadwords; five are padded to the same by the alignment of RSP to 16
    CpuMode.PROTECTED: 16,  # EFLAGS, CS, EIP and the error code of a page fault
    CpuMode.REAL: 6,
}
_MAX_PAGES = 4096


@dataclass(frozen=True, slots=True)
class Vital:
    """An inclusive physical range that delivery reads: to overwrite it ends the storm."""

    first: int
    last: int
    what: Message


@dataclass(frozen=True, slots=True)
class RunOut:
    """After about ``frames`` frames, at ``virt``, the storm meets ``what``."""

    frames: int
    virt: int
    what: Message


def run_out(delivery: Delivery, registers: Registers, vital: Sequence[Vital]) -> RunOut | None:
    """Follow the falling RSP to what stops it; return None if nothing does within 4096 mapped pages."""
    top = rsp = registers.stack
    frame = _FRAME_BYTES[registers.mode]
    for _ in range(_MAX_PAGES):
        virt = (top - 1) & MASK64
        found = delivery.reach(virt, AccessKind.WRITE)
        if isinstance(found, PageFault):
            return RunOut((rsp - top) // frame, virt, Message("a page that it may not write"))
        bottom = virt & ~(found.page_size - 1)
        phys_first = found.phys - (virt - bottom)
        hit = max(
            (v for v in vital if v.first <= found.phys and v.last >= phys_first),
            key=lambda v: v.last,
            default=None,
        )
        if hit is not None:
            at = virt - max(found.phys - hit.last, 0)
            return RunOut((rsp - at) // frame, at, hit.what)
        top = bottom
    return None
