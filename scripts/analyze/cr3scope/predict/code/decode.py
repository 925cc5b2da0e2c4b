"""Instructions as they stand in memory, decoded by capstone, and where their memory operands lie."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from cr3scope.predict.code.known_registers import KnownRegisters

LONGEST = 15  # bytes of an instruction (Intel SDM volume 2A, 2.3.11)
_MASK = (1 << 64) - 1


def can_decode() -> bool:
    """Whether capstone is there."""
    return importlib.util.find_spec("capstone") is not None


def decode(code: bytes, at: int, bits: int = 64) -> Any:
    """The first instruction of ``code``, a capstone CsInsn with details; None if it is none.

    ``bits``: of the code segment, 64, 32 or 16.
    """
    return next(_decoder(bits).disasm(code, at, 1), None)


def text(one: Any) -> str:
    """As an assembler (Intel's syntax) has it."""
    return f"{one.mnemonic} {one.op_str}".strip()


def address(one: Any, operand: Any, known: KnownRegisters) -> int | None:
    """Of a memory operand; None if a register is not known, or the base of FS or GS."""
    from capstone import x86

    place = operand.mem
    base: int | None = 0
    if place.segment in (x86.X86_REG_FS, x86.X86_REG_GS):
        base = known.get(f"{one.reg_name(place.segment)}_base")
    if base is None:
        return None
    total: int = place.disp
    for register, scale in ((place.base, 1), (place.index, place.scale)):
        if register == x86.X86_REG_RIP:
            total += one.address + one.size
        elif register:
            value = known.get(one.reg_name(register))
            if value is None:
                return None
            total += value * scale
    offset: int = total & (1 << 8 * one.addr_size) - 1
    return offset + base & _MASK


@cache
def _decoder(bits: int) -> Any:
    import capstone

    modes = {64: capstone.CS_MODE_64, 32: capstone.CS_MODE_32, 16: capstone.CS_MODE_16}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    decoder.detail = True
    return decoder
