"""The check of a stack protector's canary at the end of a function: a decision that only looks like one.

What a function found in the guard at its beginning it compares with the guard at its end; they differ only if somebody wrote
over the stack. As gcc and clang make it (-fstack-protector): a word of the frame, and fs:28h, gs:14h or __stack_chk_guard;
if they differ one call, which does not come back, or a jump to itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.model.follow.course import Why
from cr3scope.model.follow.follow import Path, follow
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.expected_memory import Read
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.word import MAX_INSTRUCTION_BYTES

_MOST_BYTES = 96  # from the frame's word to the jump
_COMPARES = ("sub", "xor", "cmp")
_PLACES = frozenset({0x28, 0x14})  # of the guard in a thread's block, by 64 and 32 bits
_FRAME = ("rsp", "rbp", "esp", "ebp")
_SMALL = {64: 1 << 32, 32: 1 << 24}  # below it a number may count something: a guard has random bits up to the top
_PADDING = ("nop", "int3", "endbr64", "endbr32", "data16", "lea", "xchg", "push", "ud2")


@dataclass(frozen=True, slots=True)
class Passed:
    """Where the code goes on as long as nobody has written over the stack, and where the guard lies."""

    rip: int
    guard: int


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of memory that is compared: ``is_frame``, or told by a thread's block."""

    at: int
    is_frame: bool
    is_thread: bool


def passes_canary(read: Read, path: Path, begin: int, bits: int) -> Passed | None:
    """Return where a way goes on that has come to a canary's check; None if it has come to anything else.

    ``begin``: the first instruction of the way.
    """
    jump_at = path.last.rip
    starts = {begin, *(step.by for step in path.steps)}
    way = _straight(read, starts, jump_at, bits)
    if way is None or way[-1].mnemonic not in ("je", "jne") or way[-2].mnemonic not in _COMPARES:
        return None
    known = KnownRegisters({name: value for name, value in path.at_end.items() if value is not None})
    compare, jump = way[-2:]
    words = [_word(way[:-2], compare, operand, known, bits) for operand in compare.operands]
    guard = next((word for word in words if word is not None and not word.is_frame), None)
    frame = next((word for word in words if word is not None and word.is_frame), None)
    kept = _value(read, frame, bits) if frame is not None else _in_register(compare, words, known)
    if guard is None or not kept or kept != _value(read, guard, bits):
        return None
    target, behind = int(jump.operands[0].imm), jump.address + jump.size
    equal, other = (target, behind) if jump.mnemonic == "je" else (behind, target)
    is_sure = frame is not None and (guard.is_thread or kept >= _SMALL[bits])
    is_meant = frame is not None and _only_calls(read, other, equal, bits, is_sure)
    return Passed(equal, guard.at) if is_meant or _stops(read, path, other, bits) else None


def _value(read: Read, word: _Word, bits: int) -> int:
    return int.from_bytes(read(word.at, bits // 8) or b"", "little")


def _in_register(compare: Any, words: list[_Word | None], known: KnownRegisters) -> int | None:
    """What a register holds that is compared and was not loaded on the way; None if there is none."""
    from capstone import x86

    registers = [one.reg for one, word in zip(compare.operands, words, strict=True) if word is None and one.type == x86.X86_OP_REG]
    return known.get(compare.reg_name(registers[0])) if len(registers) == 1 and compare.mnemonic == "cmp" else None


def _stops(read: Read, path: Path, other: int, bits: int) -> bool:
    """Whether the other way leads to a jump to itself and nowhere else: then nothing is decided, but where to stop."""
    known = {name: value for name, value in path.at_end.items() if value is not None}
    way = follow(read, known, replace(path.last, rip=other), bits, decides=False)
    return way.why is Why.LOOP and all(step.kind is AccessKind.FETCH or step.role.is_stack for step in way.steps)


def _straight(read: Read, starts: Iterable[int], end: int, bits: int) -> list[Any] | None:
    """The instructions in a row from one of the places to the one at ``end``; of several rows the longest."""
    for start in sorted(one for one in starts if 0 < end - one <= _MOST_BYTES):
        code = read(start, end - start + MAX_INSTRUCTION_BYTES) or b""
        way: list[Any] = []
        for one in decode.decode_all(code, start, bits):
            way.append(one)
            if one.address >= end or one.mnemonic.startswith(("j", "call", "ret")):
                break
        if len(way) > 1 and way[-1].address == end:
            return way
    return None


def _word(before: list[Any], compare: Any, operand: Any, known: KnownRegisters, bits: int) -> _Word | None:
    """The memory behind an operand of the comparison: its own, or what its register was loaded from."""
    from capstone import x86

    one = compare
    if operand.type == x86.X86_OP_REG:
        name = compare.reg_name(operand.reg)
        one = next((each for each in reversed(before) if name in decode.written(each)), None)
        if one is None or one.mnemonic != "mov":
            return None
        operand = one.operands[1]
    if operand.type != x86.X86_OP_MEM or operand.size != bits // 8 or operand.mem.index:
        return None
    at = decode.address(one, operand, known)
    base = one.reg_name(operand.mem.base) if operand.mem.base else ""
    is_thread = operand.mem.segment in (x86.X86_REG_FS, x86.X86_REG_GS) and not base and operand.mem.disp in _PLACES
    if at is None or (operand.mem.segment and not is_thread) or (base and base not in (*_FRAME, "rip")):
        return None
    return _Word(at, base in _FRAME, is_thread)


def _only_calls(read: Read, at: int, equal: int, bits: int, is_sure: bool) -> bool:
    """Whether there is nothing but a call. ``is_sure``: that it is a guard; else the call must be the function's last bytes."""
    found = list(decode.decode_all(read(at, 2 * MAX_INSTRUCTION_BYTES) or b"", at, bits))[:2]
    if not found or found[0].mnemonic != "call":
        return False
    behind = found[0].address + found[0].size
    ends = behind != equal and (len(found) < 2 or found[1].mnemonic.split()[-1] in _PADDING)
    return is_sure or ends
