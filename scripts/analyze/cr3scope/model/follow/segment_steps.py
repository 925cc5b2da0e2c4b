"""Instructions that load a segment register, TR, GDTR or IDTR: what they read, and when they are refused."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from cr3scope.message import Hex, Message, message
from cr3scope.model.follow import segment_load
from cr3scope.model.follow.course import Course, Step
from cr3scope.model.follow.segment_load import CODE, STACK, TASK, Refused
from cr3scope.model.role import Role
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.memory_operands import far_bytes, table_bytes
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, Descriptor, descriptor_offset, in_local_table, is_null
from cr3scope.x86.exceptions import NOT_PRESENT, PROTECTION, STACK_FAULT
from cr3scope.x86.platform import Quirk
from cr3scope.x86.segment import Segment, in_real_mode

_SMALL_BASE = 0xFFFFFF  # what 16-bit operands leave of the base (SDM 2A, LGDT)
_TYPE_AT = 4  # the half of a descriptor with its type, accessed and busy bits
_DATA_SEGMENTS = ("ds", "es", "fs", "gs", STACK)
_FAR_POINTERS = {"lss": STACK, "lds": "ds", "les": "es", "lfs": "fs", "lgs": "gs"}

# Accesses, and whether the way goes on.
Goes = Generator[Step, None, bool]


def loaded(course: Course, one: Any, destination: str | None) -> tuple[str, int | None] | None:
    """Return which segment register the instruction loads, and the selector if it is known; None for other
    instructions.

    ``destination``: its first operand, if that is a register.
    """
    name = one.mnemonic
    if name in _FAR_POINTERS:
        at = decode.address(one, one.operands[-1], course.known)
        selector = None if at is None else course.memory.load((at & course.mask) + far_bytes(one), 2)
        return _FAR_POINTERS[name], selector
    register = TASK if name == "ltr" else destination
    if register not in (*_DATA_SEGMENTS, TASK) or name not in ("mov", "pop", "ltr"):
        return None
    on_stack = name == "pop"
    value = course.memory.load(course.in_segment("ss", course.now.rsp), 2) if on_stack else course.source(one)
    return register, None if value is None else value & 0xFFFF


def load(course: Course, one: Any, register: str, selector: int | None, is_return: bool = False) -> Goes:
    """Yield the steps of loading SS, DS to GS, or TR; return whether the code goes on.

    ``is_return``: by IRET. An unknown selector is taken for a good one.
    """
    if selector is None:
        if course.bits != 64:
            course.known.set(f"{register}_base", None)
        return True
    if course.now.has_real_segments:
        course.load_segment(register, in_real_mode(selector))
        return True
    if is_null(selector):
        refused = segment_load.null_refused(register, course.bits == 64, course.platform)
        if refused is not None:
            course.stops(one, refused)
        elif course.bits != 64:
            course.load_segment(register, Segment(selector))
        return refused is None
    found = yield from _descriptor(course, one, register, selector, is_return)
    if found is None:
        return False
    if register == TASK or not found.accessed:  # the CPU sets the busy or the accessed bit
        at = course.now.gdt_base + descriptor_offset(selector) + _TYPE_AT & course.mask
        yield course.step(Role.GDT_WRITE, at, AccessKind.WRITE, 4, one.address)
    if register == TASK:
        course.now = replace(course.now, tr=selector)
    if course.bits != 64:
        course.load_segment(register, found.segment(selector))
    return True


def enter(course: Course, one: Any, selector: int, offset: int) -> Goes:
    """Yield the steps of loading the code segment of a far transfer to an offset in it, and change to its mode.

    Return whether the code goes on.
    """
    if course.now.has_real_segments:
        course.now = replace(course.now, cs=selector)
        course.load_segment(CODE, in_real_mode(selector))
        return True
    found = yield from _descriptor(course, one, CODE, selector)
    if found is None:
        return False
    segment = found.segment(selector)
    bits = found.code_bits if course.now.mode is CpuMode.LONG else found.code_bits_before_long_mode
    if bits != 64 and not segment.holds(offset, 1):  # the one limit that TCG looks at (SDM 2A, JMP)
        words = message("offset {offset} lies beyond the limit {limit} of the code segment", offset=Hex(offset), limit=Hex(segment.limit))
        course.stops(one, Refused(PROTECTION, 0, words))
        return False
    course.now = replace(course.now, cs=selector)
    course.load_segment(CODE, segment)
    course.bits = bits
    return True


def leave_ring(course: Course, one: Any, selector: int) -> Iterator[Step]:
    """Yield the steps of loading the code segment of a return to an outer ring, where the way ends: refused, or in that ring."""
    if (yield from _descriptor(course, one, segment_load.OUTER_CODE, selector)) is not None:
        course.ends(one)


def load_table(course: Course, one: Any) -> None:
    """Remember what LGDT or LIDT loads: a limit of two bytes, and a base."""
    course.loads.add(one.mnemonic[1:])
    at = decode.address(one, one.operands[0], course.known)
    value = None if at is None else course.memory.load(at & course.mask, table_bytes(one))
    if value is None:
        return
    limit, base = value & 0xFFFF, value >> 16
    if one.bits != 64 and decode.operand_bytes(one) == 2:
        base &= _SMALL_BASE
    if one.mnemonic == "lidt":
        course.now = replace(course.now, idt_base=base, idt_limit=limit)
    else:
        course.now = replace(course.now, gdt_base=base, gdt_limit=limit)


def _descriptor(
    course: Course, one: Any, register: str, selector: int, is_return: bool = False
) -> Generator[Step, None, Descriptor | None]:
    """The one that is loaded; None if it is refused or cannot be told."""
    now = course.now
    if is_null(selector):
        course.stops(one, Refused(PROTECTION, 0, Message("it loads a null selector")))
        return None
    if in_local_table(selector) or now.cpl:
        course.ends(one)
        return None
    refused = segment_load.outside(selector, now.gdt_limit)
    if refused is None:
        at = now.gdt_base + descriptor_offset(selector) & course.mask
        yield course.step(Role.GDT_READ, at, AccessKind.READ, DESCRIPTOR_BYTES, one.address)
        value = course.memory.load(at, DESCRIPTOR_BYTES)
        # A far jump to a call gate or a task goes elsewhere.
        if value is None or (register == CODE and Descriptor(value).is_system):
            course.ends(one)
            return None
        refused = segment_load.refused(register, selector, Descriptor(value), course.platform, now.mode)
        if refused and refused.vector == STACK_FAULT and is_return and course.platform.has(Quirk.RETURN_STACK_ABSENT):
            refused = replace(refused, vector=NOT_PRESENT)
        if refused is None:
            return Descriptor(value)
    course.stops(one, refused)
    return None
