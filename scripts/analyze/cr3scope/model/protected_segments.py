"""What delivery in protected mode, and a switch of tasks, ask of descriptors and of the stack (Intel SDM volume 3A, 7.12, 9.3)."""

from __future__ import annotations

from cr3scope.message import Hex, Message, message
from cr3scope.model.delivered import Raised, Refusing, Unknown
from cr3scope.model.delivery_access import DeliveryAccess
from cr3scope.model.strike import Target
from cr3scope.paging.walk import PageFault
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, RPL, Descriptor, descriptor_offset, in_local_table, is_null
from cr3scope.x86.platform import Quirk
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import Segment
from cr3scope.x86.word import MASK32


def stack_segment(
    delivery: DeliveryAccess, selector: int, level: int, registers: Registers, external: int
) -> Segment | Raised | Unknown:
    """Return the stack segment that a TSS names for a privilege level, or the exception: #TS of its selector, #SS where it
    is not present (SDM 2A, INT n)."""
    named, error = Hex(selector), selector & ~RPL | external
    if is_null(selector):
        return Raised(exceptions.INVALID_TSS, external, None, Message("the TSS's stack selector, which is null,"), refusing=Refusing.STACK)
    words = message("stack selector {selector:02x}h of the TSS", selector=named)
    found = read_descriptor(delivery, selector, registers, words)
    if found is None:
        words = message("stack selector {selector:02x}h of the TSS, outside its table,", selector=named)
        return Raised(exceptions.INVALID_TSS, error, None, words, refusing=Refusing.STACK)
    if not isinstance(found, Descriptor):
        return found
    if selector & RPL != level or found.dpl != level or not found.takes_writes:
        words = message(
            "stack selector {selector:02x}h of the TSS, which is no segment of ring {level} that can be written,",
            selector=named, level=level,
        )  # fmt: skip
        return Raised(exceptions.INVALID_TSS, error, None, words, refusing=Refusing.STACK)
    if not found.present:
        words = message("stack selector {selector:02x}h of the TSS, not present,", selector=named)
        return Raised(exceptions.STACK_FAULT, error, None, words, refusing=Refusing.STACK)
    return found.segment(selector)


def read_descriptor(
    delivery: DeliveryAccess, selector: int, registers: Registers, words: Message
) -> Descriptor | Raised | Unknown | None:
    """Return the descriptor of a selector, by the GDT or the LDT; None if it lies beyond the table's limit."""
    base, limit = registers.gdt_base, registers.gdt_limit
    if in_local_table(selector):
        local = registers.segments.get("ldt")
        if local is None:
            return Unknown(Message("the LDT"))
        base, limit = local.base, -1 if is_null(local.selector) else local.limit
    offset = descriptor_offset(selector)
    if offset + DESCRIPTOR_BYTES - 1 > limit:
        return None
    virt = base + offset & MASK32
    data = delivery.read(virt, DESCRIPTOR_BYTES, message("{which} at {virt}", which=words, virt=Hex(virt)), Target.GDT)
    return Descriptor.decode(data) if isinstance(data, bytes) else data


def push(delivery: DeliveryAccess, segment: Segment, top: int, count: int, width: int, error: int) -> int | Raised:
    """Return SP behind a push of ``count`` words of ``width`` bytes, or the exception. ``error``: of #SS where the segment has no room."""
    mask = MASK32 if segment.is_big else 0xFFFF
    total = count * width
    if not holds(delivery, segment, top - total & mask, total):
        words = message("the stack at offset {offset}, outside its segment,", offset=Hex(top - total & mask))
        return Raised(exceptions.STACK_FAULT, error, None, words)
    offset = top
    for _ in range(count):
        offset = offset - width & mask
        virt = segment.linear(offset)
        found = delivery.reach(virt, AccessKind.WRITE, width)
        if isinstance(found, PageFault):
            return delivery.raised(found, message("the stack at {virt}", virt=Hex(virt)), Target.PLAN, AccessKind.WRITE)
    return top & ~mask | offset


def holds(delivery: DeliveryAccess, segment: Segment, offset: int, width: int = 1) -> bool:
    """Return whether an offset lies within a segment; TCG does not ask."""
    return delivery.platform.has(Quirk.NO_LIMITS) or segment.holds(offset, width)


def beyond(offset: int, code: Segment) -> Message:
    """Return the words for a first instruction outside its code segment."""
    return message("offset {offset}, beyond the code segment's limit {limit},", offset=Hex(offset), limit=Hex(code.limit))
