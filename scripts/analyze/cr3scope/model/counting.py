"""Whether a tight loop counts: then it may end by itself, however long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cr3scope.x86.decode.expected_memory import Read
from cr3scope.x86.decode.instruction import LONGEST, decode, written
from cr3scope.x86.decode.known_registers import is_part_of

_MOST_INSTRUCTIONS = 64
_CLOCKS = ("rdtsc", "rdtscp", "rdrand", "rdseed", "rdpmc", "rdmsr")
_LOCKS = ("xchg", "cmpxchg", "bts", "btr", "btc")  # they write the same again and again
_COMPARES = ("cmp", "test", "bt")
_LOADS = ("mov", "in", "lods", "pop", "set", "cmov", "xchg", "cmpxchg", "and")  # by their beginning
_CONTROL = frozenset({"cr0", "cr3", "cr4"})
_TESTED = "rax"  # the register that may differ from look to look


def counts(read: Read, rips: Sequence[int], bits: int) -> bool:
    """Return whether a loop in which a CPU was seen at ``rips`` leaves something else behind with each turn: it writes
    memory, reads a clock, or changes the accumulator by what it was; true also of a loop that is not understood.

    ``read`` returns bytes of memory by virtual address; ``bits`` is the code segment's size.
    """
    turn = _turn(read, min(rips), max(rips), bits)
    if turn is None:
        return not _is_refused(read, rips, bits)
    is_fresh = False
    for one in turn:
        name = one.mnemonic.removeprefix("lock ")
        if name in _CLOCKS or name.startswith(("rep", "call", "push")) or _writes_memory(one, name):
            return True
        if name in _COMPARES or not any(is_part_of(each, _TESTED) for each in written(one)):
            continue
        is_zeroed = name in ("xor", "sub") and len({operand.reg for operand in one.operands}) == 1
        if name.startswith(_LOADS) or is_zeroed:
            is_fresh = True
        elif not is_fresh:
            return True
    return False


def _is_refused(read: Read, rips: Sequence[int], bits: int) -> bool:
    """Whether the CPU stands at one and the same load of a control register: TCG executes one that is refused for ever."""
    code = read(rips[0], LONGEST) if len(set(rips)) == 1 else None
    one = decode(code, rips[0], bits) if code else None
    return one is not None and one.mnemonic == "mov" and bool(written(one) & _CONTROL)


def _turn(read: Read, first: int, last: int, bits: int) -> list[Any] | None:
    """The instructions of one turn, from where its last jump leads to that jump; None if that cannot be told."""
    way = _straight(read, first, None, bits)
    if way is None or way[-1].address < last:
        return None
    head = _target(way[-1])
    return None if head is None else way if head == first else _straight(read, head, way[-1].address, bits)


def _straight(read: Read, start: int, end: int | None, bits: int) -> list[Any] | None:
    """The instructions in a row to the one at ``end``; without it to the first that jumps back to ``start`` or before."""
    way: list[Any] = []
    at = start
    for _ in range(_MOST_INSTRUCTIONS):
        code = read(at, LONGEST)
        one = decode(code, at, bits) if code else None
        if one is None:
            return None
        way.append(one)
        target = _target(one)
        if at == end or end is None and target is not None and target <= start:
            return way
        at += one.size
    return None


def _target(one: Any) -> int | None:
    """Where a direct jump leads; None of all others."""
    from capstone import x86

    groups = {one.group_name(group) for group in one.groups}
    is_jump = "jump" in groups or one.mnemonic.startswith("loop")
    return one.operands[0].imm if is_jump and one.operands and one.operands[0].type == x86.X86_OP_IMM else None


def _writes_memory(one: Any, name: str) -> bool:
    from capstone import CS_AC_WRITE, x86

    if name in _LOCKS or name in _COMPARES:
        return False
    return any(operand.type == x86.X86_OP_MEM and operand.access & CS_AC_WRITE for operand in one.operands)
