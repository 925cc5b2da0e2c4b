"""An exception through a task gate: another TSS, with tables and a stack of its own (Intel SDM volume 3A, 7.12.2, 9.3)."""

from __future__ import annotations

import struct
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.model import protected_segments as segments
from cr3scope.model.delivered import Entered, Raised, Refusing, Unknown
from cr3scope.model.delivery_access import DeliveryAccess
from cr3scope.model.strike import Target
from cr3scope.x86 import exceptions
from cr3scope.x86.cpu_state import CR0_PG
from cr3scope.x86.descriptors import RPL, TSS_BYTES, Descriptor, in_local_table, is_null
from cr3scope.x86.registers import RFLAGS_VIRTUAL_8086, Registers
from cr3scope.x86.segment import Segment

_STATE = struct.Struct("<28x3I16xI12x4xH2xH2x")  # CR3, EIP, EFLAGS; ESP; CS, SS (SDM 3A, figure 9-2)


@dataclass(frozen=True, slots=True)
class _Task:
    cr3: int
    eip: int
    flags: int
    esp: int
    code: int
    stack: int


def enter(
    delivery: DeliveryAccess, selector: int, registers: Registers, has_error_code: bool, external: int
) -> Entered | Raised | Unknown:
    """Return how a switch to the task of a TSS selector ends.

    An exception behind the switch is raised in the new task; what it does there is told where it is entered.
    """
    found = _tss(delivery, selector, registers, external)
    if not isinstance(found, Descriptor):
        return found
    data = delivery.read(found.base, TSS_BYTES, message("the TSS {selector:02x}h at {virt}", selector=Hex(selector), virt=Hex(found.base)), Target.PLAN)
    if not isinstance(data, bytes):
        return data
    cr3, eip, flags, esp, code, stack = _STATE.unpack(data[: _STATE.size])
    task = _Task(cr3, eip, flags, esp, code, stack)
    if task.flags & RFLAGS_VIRTUAL_8086:
        return Unknown(Message("a task of virtual-8086 mode"), is_modelled=False)
    there = delivery
    if delivery.cpu.cr0 & CR0_PG:
        there = replace(delivery, cpu=replace(delivery.cpu, cr3=task.cr3))
    return _start(there, task, selector, registers, has_error_code, external)


def _tss(delivery: DeliveryAccess, selector: int, registers: Registers, external: int) -> Descriptor | Raised | Unknown:
    named, error = Hex(selector), selector & ~RPL | external
    words = message("TSS selector {selector:02x}h", selector=named)
    found = None if in_local_table(selector) else segments.read_descriptor(delivery, selector, registers, words)
    if found is None:
        return Raised(exceptions.PROTECTION, error, None, message("TSS selector {selector:02x}h, outside the GDT,", selector=named), refusing=Refusing.TASK)
    if not isinstance(found, Descriptor):
        return found
    if found.is_small_tss:
        return Unknown(Message("a task of 16 bits"), is_modelled=False)
    if not found.is_available_tss:
        words = message("TSS selector {selector:02x}h, which is no available TSS,", selector=named)
        return Raised(exceptions.PROTECTION, error, None, words, refusing=Refusing.TASK)
    if not found.present:
        return Raised(exceptions.NOT_PRESENT, error, None, message("TSS selector {selector:02x}h, not present,", selector=named), refusing=Refusing.TASK)
    if found.last < TSS_BYTES - 1:
        words = message("the TSS {selector:02x}h, whose limit {limit} is too small,", selector=named, limit=Hex(found.last))
        return Raised(exceptions.INVALID_TSS, error, None, words, refusing=Refusing.TASK)
    return found


def _start(
    delivery: DeliveryAccess, task: _Task, selector: int, registers: Registers, has_error_code: bool, external: int
) -> Entered | Raised | Unknown:
    """The new task's segments, in the manual's order, and the error code on its stack (SDM 3A, table 9-1)."""
    level = task.code & RPL
    stack = segments.stack_segment(delivery, task.stack, level, registers, external)
    if not isinstance(stack, Segment):
        return stack
    named, error = Hex(task.code), task.code & ~RPL | external
    words = message("code selector {selector:02x}h of the task", selector=named)
    found = segments.read_descriptor(delivery, task.code, registers, words) if not is_null(task.code) else None
    if isinstance(found, (Raised, Unknown)):
        return found
    if found is None or not found.is_code or not found.conforming and found.dpl != level:
        words = message("code selector {selector:02x}h of the task, which is no code segment of its ring,", selector=named)
        return Raised(exceptions.INVALID_TSS, error, None, words, refusing=Refusing.TASK)
    if not found.present:
        words = message("code selector {selector:02x}h of the task, not present,", selector=named)
        return Raised(exceptions.NOT_PRESENT, error, None, words, refusing=Refusing.TASK)
    code, esp = found.segment(task.code), task.esp
    if has_error_code:
        pushed = segments.push(delivery, stack, esp, 1, 4, external)
        if not isinstance(pushed, int):
            return pushed
        esp = pushed
    if not segments.holds(delivery, code, task.eip):
        return Raised(exceptions.PROTECTION, external, None, segments.beyond(task.eip, code), refusing=Refusing.TASK)
    cr3 = delivery.cpu.cr3 if delivery.cpu.cr0 & CR0_PG else None
    return Entered(task.eip, esp, task.code, segments={"cs": code, "ss": stack}, cr3=cr3, task=selector, flags=task.flags)
