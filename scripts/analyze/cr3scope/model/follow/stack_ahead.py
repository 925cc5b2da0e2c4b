"""What code that is followed no further may do with its stack first: write to it, or leave it for another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cr3scope.model.control_change import REGISTER
from cr3scope.model.follow.course import Course
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.known_registers import KnownRegisters, is_part_of
from cr3scope.x86.decode.operands import operand_value, result

_MOST = 64  # instructions, of all ways together
_NEW_STACK = ("iret", "sysret", "sysexit", "sysenter", "rsm", "vmlaunch", "vmresume", "vmrun", "lss")
_WRITES = ("push", "call", "lcall", "enter", "int")
_ENDS = ("hlt", "mwait", "ud0", "ud1", "ud2")
_OF_THE_SAME = ("rsp", "rbp")


def may_leave_stack(course: Course) -> bool:
    """Return whether the code from where the course has ended may load another stack pointer before it writes to the stack.

    Both ways of a conditional jump are looked at. What cannot be read, and a jump to nobody knows where, leaves no stack.
    """
    ways = [(course.now.rip, course.known.all())]
    seen: set[int] = set()
    while ways and len(seen) < _MOST:
        at, values = ways.pop()
        one = None if at in seen else _decoded(course, at)
        if one is None:
            continue
        seen.add(at)
        if _leaves(one):
            return True
        known = KnownRegisters({name: value for name, value in values.items() if value is not None})
        places = [target & course.code_mask for target in _targets(course, one, known)]
        _change(course, one, known)
        ways += ((place, known.all()) for place in places)
    return False


def _decoded(course: Course, at: int) -> Any:
    code = course.memory.read(course.in_segment("cs", at), decode.LONGEST)
    return decode.decode(code, at, course.bits) if code else None


def _leaves(one: Any) -> bool:
    """Whether an instruction loads a stack pointer that is not counted from the old one, or from the frame's."""
    if one.mnemonic.startswith(_NEW_STACK):
        return True
    loaded = [operand for operand in one.operands if _is_one_of(one, operand.type == REGISTER and operand.reg, ("rsp",))]
    if one.mnemonic in ("pop", "xchg"):
        return bool(loaded)
    if one.mnemonic not in ("mov", "movabs", "lea") or not loaded or loaded[0] is not one.operands[0]:
        return False
    last = one.operands[-1]
    return not _is_one_of(one, last.reg if last.type == REGISTER else one.mnemonic == "lea" and last.mem.base, _OF_THE_SAME)


def _is_one_of(one: Any, register: int, names: tuple[str, ...]) -> bool:
    """Whether a register, 0 for none, is one of these, or a part of it."""
    return bool(register) and any(is_part_of(one.reg_name(register), name) for name in names)


def _targets(course: Course, one: Any, known: KnownRegisters) -> Iterator[int]:
    """Where the code may go on with the same stack."""
    if one.mnemonic.startswith((*_WRITES, *_ENDS)) or "ret" in one.mnemonic:
        return
    if "jump" in {one.group_name(group) for group in one.groups}:
        first = one.operands[0]
        target = operand_value(one, first, known, course.memory, course.mask) if len(one.operands) == 1 else None
        if target is not None:
            yield target
        if one.mnemonic in ("jmp", "ljmp"):
            return
    yield one.address + one.size


def _change(course: Course, one: Any, known: KnownRegisters) -> None:
    """Keep what an instruction leaves in the registers."""
    value = result(one, known, lambda each: operand_value(each, each.operands[-1], known, course.memory, course.mask) if each.operands else None)
    for register in decode.written(one):
        known.set(register, None)
    if value is not None:
        known.set(one.reg_name(one.operands[0].reg), value)
