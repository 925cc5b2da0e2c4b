"""Jumps, calls and returns, near and far: what they read and push, and where they go on."""

from __future__ import annotations

from typing import Any

from cr3scope.model.follow import segment_steps
from cr3scope.model.follow.course import Course, Way
from cr3scope.model.follow.data_steps import operand_steps
from cr3scope.model.follow.segment_load import STACK
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.decode.memory_operands import far_bytes
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.registers import RFLAGS_NESTED_TASK, RFLAGS_VIRTUAL_8086

_FAR_RETURNS = {"retfq": 8, "iret": 2, "iretd": 4, "iretq": 8}  # bytes of each word they pop


def branch(course: Course, one: Any) -> Way:
    """Yield the accesses of a jump without a condition, or of a call; return where it goes on."""
    yield from operand_steps(course, one)
    if one.mnemonic == "ljmp" and (far := _far_target(course, one)) is not None:
        selector, offset = far
        return offset if (yield from segment_steps.enter(course, one, selector, offset)) else None
    target = course.source(one)
    if target is None or one.mnemonic in ("ljmp", "lcall"):
        return course.ends(one)
    if one.mnemonic == "call":
        yield from course.push(one, one.address + one.size, course.pushed_bytes(one))
    return target


def _far_target(course: Course, one: Any) -> tuple[int, int] | None:
    """Selector and offset of a far jump, where they are known."""
    from capstone import x86

    first = one.operands[0]
    if first.type == x86.X86_OP_IMM and len(one.operands) == 2:
        return int(first.imm), int(one.operands[1].imm) & course.mask
    at = decode.address(one, first, course.known) if first.type == x86.X86_OP_MEM else None
    if at is None:
        return None
    width = far_bytes(one)
    offset = course.memory.load(at & course.mask, width)
    selector = course.memory.load((at & course.mask) + width, 2)
    return None if offset is None or selector is None else (selector, offset)


def back(course: Course, one: Any) -> Way:
    """Yield the accesses of a return, near, far or from an interrupt; return where it goes on."""
    if one.mnemonic == "ret":
        target = yield from course.pop(one, course.pushed_bytes(one))
        if target is None:
            return course.ends(one)
        if one.operands:
            course.move_stack(course.now.rsp + one.operands[0].imm)
        return target
    width = decode.operand_bytes(one) if one.mnemonic == "retf" else _FAR_RETURNS.get(one.mnemonic)
    if width is None:
        return course.ends(one)
    is_interrupt = one.mnemonic.startswith("iret")
    moves_stack = is_interrupt and course.bits == 64
    if is_interrupt and course.now.rflags & RFLAGS_NESTED_TASK:
        return course.ends(one)  # back to another task
    top, words = course.now.rsp, []
    count = 5 if moves_stack else 3 if is_interrupt else 2
    for place in range(count):
        words.append((yield from course.peek(one, top + place * width, width)))
    after = top + count * width
    target, selector = words[:2]
    if target is None or selector is None:
        return course.ends(one)
    if is_interrupt and course.now.mode is CpuMode.PROTECTED and _may_enter_virtual_8086(course, words[2], top + 2 * width):
        return course.ends(one)
    if selector & RPL and not course.now.has_real_segments:
        yield from segment_steps.leave_ring(course, one, selector & 0xFFFF)
        return None
    if not (yield from segment_steps.enter(course, one, selector & 0xFFFF, target)):
        return None
    if moves_stack:
        stack, segment = words[3:]
        if stack is None or segment is None or course.bits != 64:
            return course.ends(one)
        if not (yield from segment_steps.load(course, one, STACK, segment & 0xFFFF, True)):
            return None
        after = stack
    elif one.operands:
        after += one.operands[0].imm
    course.move_stack(after)
    return target


def _may_enter_virtual_8086(course: Course, flags: int | None, place: int) -> bool:
    """Whether an IRET pops VM (SDM 2A, IRET); what a PUSHF has left at the offset ``place`` has none."""
    if flags is None:
        flags = course.pushed_flags.get(course.in_segment("ss", place), RFLAGS_VIRTUAL_8086)
    return bool(flags & RFLAGS_VIRTUAL_8086)
