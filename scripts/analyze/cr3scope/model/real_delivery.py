"""One attempt to deliver an exception in real mode: a far pointer, three words on the stack (Intel SDM volume 3A, 22.1.4)."""

from __future__ import annotations

from cr3scope.message import Hex, Message, message
from cr3scope.model.delivered import Entered, Raised, Unknown
from cr3scope.model.delivery_access import DeliveryAccess
from cr3scope.model.strike import Target
from cr3scope.x86 import exceptions
from cr3scope.x86.descriptors import VECTOR_BYTES
from cr3scope.x86.platform import Quirk
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import in_real_mode

_FRAME = 6  # IP, CS and FLAGS; no error code is pushed


def deliver(delivery: DeliveryAccess, vector: int, registers: Registers) -> Entered | Raised | Unknown:
    """Try to enter the handler of ``vector``, and return how that ends."""
    if VECTOR_BYTES * (vector + 1) - 1 > registers.idt_limit:
        limit = Hex(registers.idt_limit)
        words = message("vector {gate}, beyond the limit {limit} of the table of interrupts,", gate=vector, limit=limit)
        return Raised(exceptions.PROTECTION, 0, None, words)
    virt = registers.idt_base + VECTOR_BYTES * vector
    data = delivery.read(virt, VECTOR_BYTES, message("vector {gate} at {virt}", gate=vector, virt=Hex(virt)), Target.IDT)
    if not isinstance(data, bytes):
        return data
    stack = registers.segments.get("ss")
    if stack is None:
        return Unknown(Message("the stack segment"))
    offset = registers.rsp - _FRAME & 0xFFFF
    if not delivery.platform.has(Quirk.NO_LIMITS) and not stack.holds(offset, _FRAME):
        words = message("the stack at offset {offset}, outside its segment,", offset=Hex(offset))
        return Raised(exceptions.STACK_FAULT, 0, None, words)
    handler, selector = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:], "little")
    return Entered(handler, registers.rsp & ~0xFFFF | offset, selector, segments={"cs": in_real_mode(selector)})
