"""One attempt to deliver an exception in protected mode (Intel SDM volume 3A, 7.12, and volume 2A, INT n).

The checks come in the manual's order: the gate, its code segment, the stack of another privilege level, the pushes, the
first instruction. QEMU's TCG compares no offset with a segment's limit.
"""

from __future__ import annotations

from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.model import protected_segments as segments
from cr3scope.model import task_switch
from cr3scope.model.delivered import Entered, Raised, Refusing, Unknown
from cr3scope.model.delivery_access import DeliveryAccess
from cr3scope.model.strike import Target
from cr3scope.x86 import exceptions
from cr3scope.x86.descriptors import RPL, SHORT_GATE_BYTES, Descriptor, Gate, is_null, stack_offset
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import Segment
from cr3scope.x86.word import MASK32

_SMALL_TSS_TYPES = (1, 3)


@dataclass(frozen=True, slots=True)
class _Stack:
    """Where the frame is pushed; ``error``: of #SS where there is no room for it."""

    segment: Segment
    top: int
    error: int
    changes: bool


def deliver(
    delivery: DeliveryAccess, vector: int, registers: Registers, software: bool, external: int
) -> Entered | Raised | Unknown:
    """Try to enter the handler of ``vector``, and return how that ends.

    ``software``: raised by an INT instruction; ``external``: EXT of the error codes of what is raised on the way.
    """
    if registers.is_virtual_8086:
        return Unknown(Message("how virtual-8086 mode is left"), is_modelled=False)
    gate = _gate(delivery, vector, registers, software, external)
    if not isinstance(gate, Gate):
        return gate
    has_error_code = vector in exceptions.WITH_ERROR_CODE and not software
    if gate.is_task:
        return task_switch.enter(delivery, gate.selector, registers, has_error_code, external)
    code = _code(delivery, gate, registers, external)
    if not isinstance(code, Segment):
        return code
    stack = _stack(delivery, code, registers, external)
    if not isinstance(stack, _Stack):
        return stack
    count = 3 + has_error_code + 2 * stack.changes
    pushed = segments.push(delivery, stack.segment, stack.top, count, 2 if gate.is_small else 4, stack.error)
    if not isinstance(pushed, int):
        return replace(pushed, refusing=Refusing.STACK) if stack.changes else pushed
    if not segments.holds(delivery, code, gate.target):
        return Raised(exceptions.PROTECTION, external, None, segments.beyond(gate.target, code))
    loaded = {"cs": code} | ({"ss": stack.segment} if stack.changes else {})
    return Entered(gate.target, pushed, code.selector, segments=loaded)


def _gate(
    delivery: DeliveryAccess, vector: int, registers: Registers, software: bool, external: int
) -> Gate | Raised | Unknown:
    index = vector << 3 | exceptions.IN_IDT | external
    if SHORT_GATE_BYTES * (vector + 1) - 1 > registers.idt_limit:
        words = message("gate {gate}, beyond the IDT's limit {limit},", gate=vector, limit=Hex(registers.idt_limit))
        return Raised(exceptions.PROTECTION, index, None, words, refusing=Refusing.GATE)
    virt = registers.idt_base + SHORT_GATE_BYTES * vector & MASK32
    words = message("gate {gate} of the IDT at {virt}", gate=vector, virt=Hex(virt))
    data = delivery.read(virt, SHORT_GATE_BYTES, words, Target.IDT)
    if not isinstance(data, bytes):
        return data
    gate = Gate.decode(data)
    if not gate.is_usable_type:
        words = message("gate {gate}, which is no interrupt, trap or task gate,", gate=vector)
        return Raised(exceptions.PROTECTION, index, None, words, refusing=Refusing.GATE)
    if software and gate.dpl < registers.cpl:
        words = message("gate {gate}, of DPL {dpl}, by an instruction at CPL {cpl}", gate=vector, dpl=gate.dpl, cpl=registers.cpl)
        return Raised(exceptions.PROTECTION, index, None, words, refusing=Refusing.GATE)
    if not gate.present:
        return Raised(exceptions.NOT_PRESENT, index, None, message("gate {gate}, not present,", gate=vector), refusing=Refusing.GATE)
    return gate


def _code(delivery: DeliveryAccess, gate: Gate, registers: Registers, external: int) -> Segment | Raised | Unknown:
    selector, named = gate.selector, Hex(gate.selector)
    error = selector & ~RPL | external
    if is_null(selector):
        return Raised(exceptions.PROTECTION, external, None, Message("a null code selector"), refusing=Refusing.CODE)
    words = message("code selector {selector:02x}h", selector=named)
    found = segments.read_descriptor(delivery, selector, registers, words)
    if found is None:
        return Raised(exceptions.PROTECTION, error, None, message("code selector {selector:02x}h, outside its table,", selector=named), refusing=Refusing.CODE)
    if not isinstance(found, Descriptor):
        return found
    if not found.is_code:
        return Raised(exceptions.PROTECTION, error, None, message("code selector {selector:02x}h, which is no code segment,", selector=named), refusing=Refusing.CODE)
    if found.dpl > registers.cpl:
        words = message("code selector {selector:02x}h, of DPL {dpl} at CPL {cpl},", selector=named, dpl=found.dpl, cpl=registers.cpl)
        return Raised(exceptions.PROTECTION, error, None, words, refusing=Refusing.CODE)
    if not found.present:
        return Raised(exceptions.NOT_PRESENT, error, None, message("code selector {selector:02x}h, not present,", selector=named), refusing=Refusing.CODE)
    level = registers.cpl if found.conforming else found.dpl
    return found.segment(selector & ~RPL | level)


def _stack(delivery: DeliveryAccess, code: Segment, registers: Registers, external: int) -> _Stack | Raised | Unknown:
    level = code.selector & RPL
    if level == registers.cpl:
        current = registers.segments.get("ss")
        if current is None:
            return Unknown(Message("the stack segment"))
        return _Stack(current, registers.rsp, external, False)
    task = registers.segments.get("tr")
    if task is None:
        return Unknown(Message("the TSS"))
    is_small = task.system_type in _SMALL_TSS_TYPES
    offset, size = stack_offset(level, is_small), 2 if is_small else 4
    error = registers.tr & ~RPL | external
    if offset + size + 1 > task.limit:
        words = message("the stack of ring {level} in the TSS, beyond its limit {limit},", level=level, limit=Hex(task.limit))
        return Raised(exceptions.INVALID_TSS, error, None, words, refusing=Refusing.STACK)
    virt = task.base + offset & MASK32
    words = message("the stack of ring {level} in the TSS at {virt}", level=level, virt=Hex(virt))
    data = delivery.read(virt, size + 2, words, Target.PLAN)
    if isinstance(data, Raised):
        return replace(data, refusing=Refusing.TSS)
    if not isinstance(data, bytes):
        return data
    top, selector = int.from_bytes(data[:size], "little"), int.from_bytes(data[size:], "little")
    found = segments.stack_segment(delivery, selector, level, registers, external)
    return _Stack(found, top, selector & ~RPL | external, True) if isinstance(found, Segment) else found
