"""The frame that an exception has pushed, and which exceptions it can be of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cr3scope.errors import UnusableInput
from cr3scope.paging.walk import PageFault, access
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope.x86.exceptions import PF_FETCH, PF_USER, PF_WRITE
from cr3scope.x86.word import QWORD

_CONTROL_PROTECTION, _HYPERVISOR = 21, (29, 30)
_CET = 1 << 23  # of CR4
# RFLAGS: bit 1 is always set; bits 3, 5, 15 and those from 22 on never (Intel SDM volume 1, figure 3-8).
_ALWAYS, _NEVER = 1 << 1, (1 << 3 | 1 << 5 | 1 << 15 | ((1 << 42) - 1) << 22)


@dataclass(frozen=True, slots=True)
class Frame:
    """What the CPU pushed; ``error`` is None for a vector without an error code."""

    error: int | None
    rip: int
    cs: int
    flags: int
    rsp: int
    ss: int

    @property
    def is_plausible(self) -> bool:
        """Return whether an exception can have pushed this.

        RIP may be anything: QEMU's TCG jumps to an address that is not canonical before it faults.
        """
        flags = self.flags & _ALWAYS and not self.flags & _NEVER
        return bool(flags and 0 < self.cs <= 0xFFFF and self.ss <= 0xFFFF)

    @property
    def access(self) -> AccessKind:
        """Return the kind of access that a page fault's error code tells of."""
        error = self.error or 0
        if error & PF_FETCH:
            return AccessKind.FETCH
        return AccessKind.WRITE if error & PF_WRITE else AccessKind.READ

    @property
    def is_user(self) -> bool:
        """Return whether a page fault came from user mode."""
        return bool((self.error or 0) & PF_USER)


def frame_at_rsp(now: StoppedCpu, vector: int) -> Frame:
    """Return the frame at RSP; UnusableInput if RSP points to no frame of such an exception."""
    has_error = vector in exceptions.WITH_ERROR_CODE
    count = 6 if has_error else 5
    data = now.bytes_at(now.rsp, count * QWORD)
    if len(data) < count * QWORD:
        raise UnusableInput(f"the frame at RSP {now.rsp:#x} is not mapped")
    words = [int.from_bytes(data[i : i + QWORD], "little") for i in range(0, len(data), QWORD)]
    frame = Frame(words.pop(0) if has_error else None, *words)
    if not frame.is_plausible:
        raise UnusableInput(
            f"no frame of {exceptions.name(vector)} at RSP {now.rsp:#x}: CS would be {frame.cs:#x},"
            f" RFLAGS {frame.flags:#x}"
        )
    return frame


def candidates(now: StoppedCpu, vectors: Iterable[int]) -> tuple[int, ...]:
    """Return those of ``vectors`` whose frame can be the one at RSP, at a handler's first instruction.

    RSP tells whether an error code was pushed: the CPU aligns it to 16 bytes before it pushes five or six words
    of 8 (Intel SDM volume 3A, 7.14.2). #PF is out if CR2 is not refused as the error code says.
    """
    has_error = now.rsp % 16 == 0
    fitting = [one for one in vectors if (one in exceptions.WITH_ERROR_CODE) == has_error]
    return tuple(one for one in fitting if _can_come(now, one))


def _can_come(now: StoppedCpu, vector: int) -> bool:
    """#AC comes at CPL 3 only, #CP with CET, #VC and #SX under a hypervisor (SDM 3A, 7.15; AMD's manual)."""
    if vector == exceptions.PAGE_FAULT:
        return _is_page_fault(now)
    if vector == exceptions.ALIGNMENT:
        return bool(frame_at_rsp(now, vector).cs & 3)
    if vector == _CONTROL_PROTECTION:
        return bool(now.cpu.cr4 & _CET)
    return vector not in _HYPERVISOR


def _is_page_fault(now: StoppedCpu) -> bool:
    try:
        frame = frame_at_rsp(now, exceptions.PAGE_FAULT)
    except UnusableInput:
        return False
    found = access(
        now, now.cpu, now.registers.get("CR2", 0), frame.access, frame.is_user, platform=now.platform
    )
    return isinstance(found, PageFault) and exceptions.same_error(found.error_code, frame.error or 0)
