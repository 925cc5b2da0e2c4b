"""Values of an instruction's operands, as far as they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.expected_memory import ExpectedMemory
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.word import MASK32

_COUNT = {False: 31, True: 63}  # the bits of a count that a shift takes: of 64-bit operands, and of others (SDM 2B, SAL/SHR)


def operand_value(
    one: Any, operand: Any, known: KnownRegisters, memory: ExpectedMemory, mask: int
) -> int | None:
    """Return what an operand holds before the instruction, None if it is not known; ``mask`` is that of addresses."""
    from capstone import x86

    if operand.type == x86.X86_OP_IMM:
        return int(operand.imm) & mask
    if operand.type == x86.X86_OP_REG:
        return known.get(one.reg_name(operand.reg))
    at = decode.address(one, operand, known)
    return None if at is None else memory.load(at & mask, operand.size)


def result(one: Any, known: KnownRegisters, source: Callable[[Any], int | None]) -> int | None:
    """Return what the first operand, a register, holds afterwards; None if that is not known.

    ``source`` gives the value of the instruction's last operand.
    """
    from capstone import x86

    operands = one.operands
    if len(operands) not in (1, 2) or operands[0].type != x86.X86_OP_REG:
        return None
    mask = (1 << 8 * operands[0].size) - 1
    before = known.get(one.reg_name(operands[0].reg))
    if len(operands) == 1:
        by = {"inc": 1, "dec": -1}.get(one.mnemonic)
        return None if before is None or by is None else before + by & mask
    if one.mnemonic in ("mov", "movabs", "movzx"):
        return source(one)
    if one.mnemonic == "lea":
        return decode.offset_of(one, operands[1], known)  # without the segment's base (SDM 2A, LEA)
    other = source(one)
    if one.mnemonic in ("xor", "sub") and operands[1].type == x86.X86_OP_REG:
        if operands[0].reg == operands[1].reg:
            return 0
    if before is None or other is None:
        return None
    combined = {
        "add": before + other, "sub": before - other, "and": before & other, "or": before | other,
        "xor": before ^ other, "shl": before << (other & _COUNT[mask > MASK32]), "shr": before >> (other & _COUNT[mask > MASK32]),
    }.get(one.mnemonic)  # fmt: skip
    return None if combined is None else combined & mask


def quotient_fits(one: Any, known: KnownRegisters, source: Callable[[Any], int | None]) -> bool | None:
    """Return whether the quotient of DIV or IDIV fits its register; None if that is not known."""
    bits = 8 * one.operands[0].size
    low_name, high_name = {8: ("al", "ah"), 16: ("ax", "dx"), 32: ("eax", "edx"), 64: ("rax", "rdx")}[bits]
    divisor = source(one)
    if divisor == 0:
        return False
    low, high = known.get(low_name), known.get(high_name)
    if bits == 8:
        both = known.get("ax")
        low, high = (None, None) if both is None else (both & 0xFF, both >> 8)
    if divisor is None or low is None or high is None:
        return None
    dividend = high << bits | low
    if one.mnemonic == "div":
        return bool(dividend // divisor < 1 << bits)
    dividend, divisor = _signed(dividend, 2 * bits), _signed(divisor, bits)
    quotient = abs(dividend) // abs(divisor) * (1 if (dividend < 0) == (divisor < 0) else -1)
    return bool(-(1 << bits - 1) <= quotient < 1 << bits - 1)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
