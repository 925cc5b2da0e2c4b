"""Loops that the CPU is about to go through once more."""

from __future__ import annotations

from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.decode import instruction as decode

_LOOPS = ("j", "loop")


def way_out(now: StoppedCpu) -> int | None:
    """Return the address behind the conditional jump backwards at the PC; None if there is none."""
    from capstone import x86

    one = decode.decode(now.bytes_at(now.pc, decode.LONGEST), now.rip, now.code_bits)
    if one is None or not one.mnemonic.startswith(_LOOPS) or one.mnemonic in ("jmp", "ljmp"):
        return None
    target = one.operands[0]
    following: int = one.address + one.size
    return following if target.type == x86.X86_OP_IMM and target.imm <= now.rip else None
