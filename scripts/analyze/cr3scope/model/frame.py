"""The frame that an exception has pushed, and which exceptions it can be of."""

from __future__ import annotations

from collections.abc import Iterable

from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.paging.faulted_access import faulted_access
from cr3scope.paging.walk import PageFault, access
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.descriptors import RPL, SHORT_GATE_BYTES, Gate
from cr3scope.x86.exceptions import PF_USER
from cr3scope.x86.registers import RFLAGS_VIRTUAL_8086
from cr3scope.x86.word import QWORD

_CONTROL_PROTECTION, _HYPERVISOR = 21, (29, 30)
_CET = 1 << 23  # of CR4
_WORDS, _INNER_WORDS = 5, 3  # without an error code; without RSP and SS
_SELECTOR = 0xFFFF  # of a word that holds one
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
    def is_user(self) -> bool:
        """Return whether a page fault came from user mode."""
        return bool((self.error or 0) & PF_USER)


def frame_at_rsp(now: StoppedCpu, vector: int) -> Frame:
    """Return the frame at RSP; UnusableInput if RSP points to no frame of such an exception.

    Outside long mode RSP and SS are pushed by a change of privilege alone, and out of virtual-8086 mode (SDM 3A, 7.12.1).
    """
    has_error, is_long = vector in exceptions.WITH_ERROR_CODE, now.mode is CpuMode.LONG
    width = QWORD if is_long else _width_of_gate(now, vector)
    words = _words(now, vector, has_error + (_WORDS if is_long else _INNER_WORDS), width)
    error = words.pop(0) if has_error else None
    rip, cs, flags = words[:3]
    if not is_long:
        cs &= _SELECTOR
        stack, segment = now.rsp + (has_error + _INNER_WORDS) * width, now.selectors.get("SS", 0)
        if (cs ^ now.delivery_registers.cs) & RPL or flags & RFLAGS_VIRTUAL_8086:
            stack, segment = _words(now, vector, has_error + _WORDS, width)[-2:]
        words = [rip, cs, flags, stack, segment & _SELECTOR]
    frame = Frame(error, *words)
    if not frame.is_plausible:
        raise UnusableInput(
            f"no frame of {exceptions.name(vector)} at RSP {now.rsp:#x}: CS would be {frame.cs:#x},"
            f" RFLAGS {frame.flags:#x}"
        )
    return frame


def _words(now: StoppedCpu, vector: int, count: int, width: int) -> list[int]:
    data = now.bytes_at(now.stack, count * width)
    if len(data) < count * width:
        raise UnusableInput(f"the frame at RSP {now.rsp:#x} is not mapped")
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def _width_of_gate(now: StoppedCpu, vector: int) -> int:
    """How many bytes each word of a frame has in protected mode."""
    found = now.gate(vector)
    is_small = found is not None and Gate.decode(found[1].to_bytes(SHORT_GATE_BYTES, "little")).is_small
    return 2 if is_small else 4


def kind_of(now: StoppedCpu, frame: Frame) -> AccessKind:
    """Return the kind of access that a page fault's frame, at the handler's first instruction, tells of."""
    return faulted_access(now.cpu, Fault(exceptions.PAGE_FAULT, frame.error, now.registers.get("CR2", 0), frame.rip))


def candidates(now: StoppedCpu, vectors: Iterable[int]) -> tuple[int, ...]:
    """Return those of ``vectors`` whose frame can be the one at RSP, at a handler's first instruction.

    In long mode RSP tells whether an error code was pushed: the CPU aligns it to 16 bytes before it pushes five or six words
    of 8 (Intel SDM volume 3A, 7.14.2); elsewhere the words at RSP do, as far as they are plausible. #PF is out if CR2 is not
    refused as the error code says.
    """
    if now.mode is CpuMode.LONG:
        has_error = now.rsp % 16 == 0
        fitting = [one for one in vectors if (one in exceptions.WITH_ERROR_CODE) == has_error]
    else:
        fitting = [one for one in vectors if _has_frame(now, one)]
    return tuple(one for one in fitting if _can_come(now, one))


def _has_frame(now: StoppedCpu, vector: int) -> bool:
    try:
        frame_at_rsp(now, vector)
    except UnusableInput:
        return False
    return True


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
    cr2 = now.registers.get("CR2", 0)
    found = access(now, now.cpu, cr2, kind_of(now, frame), frame.is_user, platform=now.platform)
    return isinstance(found, PageFault) and exceptions.same_error(found.error_code, frame.error or 0)
