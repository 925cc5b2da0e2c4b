"""Why delivery refuses a gate of the IDT, or the code segment that it names (SDM 3A, 7.13 and 7.14.1)."""

from __future__ import annotations

from collections.abc import Callable

from cr3scope.message import Hex, Message, message
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, Descriptor, Gate, descriptor_offset, in_local_table, is_null


def refused_gate(gate: Gate) -> Message | None:
    """Return why a gate itself is of no use; None if it is."""
    if not gate.present:
        return Message("is not present")
    if not gate.is_usable_type:
        if gate.in_long_mode:
            return message("is no 64-bit interrupt or trap gate (type {type:x}h)", type=Hex(gate.type))
        return message("is no interrupt, trap or task gate (type {type:x}h)", type=Hex(gate.type))
    return None


def refused_selector(
    selector: int, gdt_limit: int, descriptor: Callable[[int], bytes | None]
) -> Message | None:
    """Return why gates must not name this selector; None if they may, or nobody knows.

    ``descriptor`` returns the bytes at an offset of the GDT, None where they cannot be read.
    """
    offset = descriptor_offset(selector)
    if is_null(selector):
        return Message("the null selector")
    if in_local_table(selector) or offset + DESCRIPTOR_BYTES - 1 > gdt_limit:
        return message("outside the GDT, whose limit is {gdt_limit}", gdt_limit=Hex(gdt_limit))
    data = descriptor(offset)
    if data is None:
        return None
    segment = Descriptor.decode(data)
    if not segment.takes_handlers:
        return Message("which is no 64-bit ring 0 code segment in the GDT")
    return None if segment.present else Message("whose descriptor is not present")
