"""One attempt to deliver an exception in long mode (Intel SDM volume 3A, 7.14): gate, code segment, stack, pushes. The stack is that of CPL 0: none is switched to."""

from __future__ import annotations

from cr3scope.message import Hex, Message, message
from cr3scope.model.delivered import Entered, Raised, Unknown
from cr3scope.model.delivery_access import DeliveryAccess
from cr3scope.model.strike import Target
from cr3scope.paging.walk import PageFault, Translation
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope.x86.descriptors import (
    DESCRIPTOR_BYTES,
    GATE_BYTES,
    Descriptor,
    Gate,
    descriptor_offset,
    ist_offset,
    tss_base,
)
from cr3scope.x86.platform import Quirk
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MASK64, QWORD


def deliver(
    delivery: DeliveryAccess, vector: int, registers: Registers, software: bool, external: int
) -> Entered | Raised | Unknown:
    """Try to enter the handler of ``vector``, and return how that ends. ``external``: EXT, as an error code has it."""
    gate = _gate(delivery, vector, registers, software, external)
    if not isinstance(gate, Gate):
        return gate
    refused = _check_segment(delivery, gate.selector, registers, external)
    if refused is not None:
        return refused
    top = _stack_top(delivery, gate.ist, registers)
    if not isinstance(top, int):
        return top
    has_error_code = vector in exceptions.WITH_ERROR_CODE and not software
    return _push(delivery, 6 if has_error_code else 5, gate, top)


def _gate(
    delivery: DeliveryAccess, vector: int, registers: Registers, software: bool, external: int
) -> Gate | Raised | Unknown:
    index = vector << (4 if delivery.platform.has(Quirk.GATE_TIMES_16) else 3) | exceptions.IN_IDT | external
    if GATE_BYTES * vector + GATE_BYTES - 1 > registers.idt_limit:
        limit = Hex(registers.idt_limit)
        words = message("gate {gate}, beyond the IDT's limit {limit},", gate=vector, limit=limit)
        return Raised(exceptions.PROTECTION, index, None, words)
    virt = registers.idt_base + GATE_BYTES * vector
    words = message("gate {gate} of the IDT at {virt}", gate=vector, virt=Hex(virt))
    data = delivery.read(virt, GATE_BYTES, words, Target.IDT)
    if not isinstance(data, bytes):
        return data
    gate = Gate.decode(data)
    if not gate.is_usable_type:
        words = message("gate {gate}, which is no interrupt or trap gate,", gate=vector)
        return Raised(exceptions.PROTECTION, index, None, words)
    if software and gate.dpl < registers.cpl:
        words = message("gate {gate}, of DPL {dpl}, by an instruction at CPL {cpl}", gate=vector, dpl=gate.dpl, cpl=registers.cpl)
        return Raised(exceptions.PROTECTION, index, None, words)
    if not gate.present:
        words = message("gate {gate}, not present,", gate=vector)
        return Raised(exceptions.NOT_PRESENT, index, None, words)
    return gate


def _check_segment(delivery: DeliveryAccess, selector: int, registers: Registers, external: int) -> Raised | Unknown | None:
    error = selector & ~3 | external
    offset = descriptor_offset(selector)
    named = Hex(selector)
    if offset == 0:
        return Raised(exceptions.PROTECTION, external, None, Message("a null code selector"))
    if selector & 4 or offset + DESCRIPTOR_BYTES - 1 > registers.gdt_limit:
        words = message("code selector {selector:02x}h, outside the GDT,", selector=named)
        return Raised(exceptions.PROTECTION, error, None, words)
    virt = registers.gdt_base + offset
    words = message("code selector {selector:02x}h in the GDT at {virt}", selector=named, virt=Hex(virt))
    data = delivery.read(virt, DESCRIPTOR_BYTES, words, Target.GDT)
    if not isinstance(data, bytes):
        return data
    segment = Descriptor.decode(data)
    if not segment.takes_handlers:
        words = message("code selector {selector:02x}h, which is no 64-bit ring 0 code segment,", selector=named)
        return Raised(exceptions.PROTECTION, error, None, words)
    if not segment.present:
        words = message("code selector {selector:02x}h, not present,", selector=named)
        return Raised(exceptions.NOT_PRESENT, error, None, words)
    return None


def _stack_top(delivery: DeliveryAccess, ist: int, registers: Registers) -> int | Raised | Unknown:
    if ist == 0:
        return registers.rsp
    base = _tss_base(delivery, registers)
    if base is None:
        return Unknown(Message("the TSS descriptor"))
    virt = base + ist_offset(ist)
    words = message("IST{ist} of the TSS at {virt}", ist=ist, virt=Hex(virt))
    data = delivery.read(virt, QWORD, words, Target.PLAN)
    return int.from_bytes(data, "little") if isinstance(data, bytes) else data


def _tss_base(delivery: DeliveryAccess, registers: Registers) -> int | None:
    """From the bytes of the GDT, not through paging: the CPU holds the base since LTR."""
    found = delivery.reach(registers.gdt_base + descriptor_offset(registers.tr), AccessKind.READ)
    if not registers.tr or not isinstance(found, Translation):
        return None
    data = delivery.memory.read(found.phys, 2 * DESCRIPTOR_BYTES)
    return None if data is None else tss_base(data)


def _push(delivery: DeliveryAccess, count: int, gate: Gate, top: int) -> Entered | Raised:
    top &= ~0xF
    rsp = top
    for _ in range(count):
        rsp = (rsp - QWORD) & MASK64
        found = delivery.reach(rsp, AccessKind.WRITE, QWORD)
        if isinstance(found, PageFault):
            words = message("the stack at {virt}", virt=Hex(rsp))
            return delivery.raised(found, words, Target.PLAN, AccessKind.WRITE)
    return Entered(gate.offset, rsp, gate.selector, gate.ist)
