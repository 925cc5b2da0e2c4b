"""The plan carried through the model: which of the accesses after ``mov cr3`` faults, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from cr3scope.input.capture.records import PlanStep
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, Reason, access, is_canonical
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MAX_INSTRUCTION_BYTES

_STACK_REACH = 4096


class Aimed(Protocol):
    """An access that is known beforehand: a step of a plan, or one of code that was followed."""

    @property
    def kind(self) -> AccessKind: ...

    @property
    def virt(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def align(self) -> int: ...


def strike(
    tables: Tables, cpu: CpuState, step: Aimed, platform: Platform
) -> PageFault | None:
    """Return the fault of one step, None if it goes through; of an INT instruction, that of its fetch.

    An operand that must be aligned and is not raises #GP(0) before it is looked up (SDM volume 2A, 2.4.1:
    exceptions of type 1).
    """
    width = max(step.width, 1)
    if step.virt % step.align and _is_canonical(cpu, step.virt, width):
        return PageFault(exceptions.PROTECTION, 0, None, (), Reason.MISALIGNED, step.virt)
    found = access(tables, cpu, step.virt, step.kind, width=width, platform=platform)
    return found if isinstance(found, PageFault) else None


def foreseen(
    tables: Tables, cpu: CpuState, plan: Iterable[PlanStep], platform: Platform
) -> list[tuple[PlanStep, PageFault | None]]:
    """Return each step with its :func:`strike` in these tables, as if those before it had gone through."""
    return [(step, strike(tables, cpu, step, platform)) for step in plan]


def exception(
    step: PlanStep, fault: PageFault, rsp: int, cr3: int, platform: Platform
) -> Fault:
    """Return the exception as the CPU reports it.

    CR2 is the first byte that could not be accessed. RIP is the instruction that made the access; of a fetch
    wider than any instruction, the instruction that begins where the fetch failed. An address that is not
    canonical raises #SS(0) through the stack, else #GP(0), and leaves CR2 alone (SDM volume 1, 3.3.7.1). TCG
    raises #GP(0) for both (seen with QEMU 7.2).
    """
    vector = fault.vector
    if fault.reason is Reason.NON_CANONICAL and _is_stack_access(step, rsp):
        quirk = platform.has(Quirk.STACK_PROTECTION)
        vector = exceptions.PROTECTION if quirk else exceptions.STACK_FAULT
    rip = step.rip
    if step.kind is AccessKind.FETCH and fault.virt - step.virt >= MAX_INSTRUCTION_BYTES:  # it covers several
        rip = fault.virt
    return Fault(vector, fault.error_code, fault.cr2, rip, cr3)


def _is_canonical(cpu: CpuState, virt: int, width: int) -> bool:
    return is_canonical(virt, cpu.levels) and is_canonical(virt + width - 1, cpu.levels)


def _is_stack_access(step: PlanStep, rsp: int) -> bool:
    return step.kind is not AccessKind.FETCH and abs(step.virt - rsp) <= _STACK_REACH


def registers_at(step: PlanStep, handoff: Registers, rip: int | None) -> Registers:
    """Return the registers when a step faults, at ``rip`` or, where that is None, at the step's own.

    RSP is that of the handoff, but for a step that writes near it: a push writes just below RSP, and RSP
    moves only once the write is done.
    """
    rsp = handoff.rsp
    if step.kind is AccessKind.WRITE and abs(step.virt - rsp) <= _STACK_REACH:
        rsp = step.virt + step.width
    return replace(handoff, rip=step.rip if rip is None else rip, rsp=rsp)
