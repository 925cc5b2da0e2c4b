"""Which instruction has just stored: for who stops a CPU behind a store, and is told no more than that.

A watchpoint is a trap: it is reported behind the instruction (Intel SDM volume 3B, 19.2.5), or before the next turn of one that repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import RFLAGS_DF
from cr3scope.x86.decode.instruction import decode, decode_all
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.decode.memory_operands import accesses, plain_name

LONGEST = 15
_BEHIND = 64  # bytes in which decoding that began at a wrong place has found back, nearly always
_STRINGS = ("stos", "movs", "ins")
_REPEATS = "rep"


def stored_here(cpu: StoppedCpu, virt: int, width: int) -> int | None:
    """Return the linear address of the instruction that has just stored to some of the ``width`` bytes; None if that is not certain.

    Raises MemoryUnavailable.
    """
    rip = cpu.pc
    one = decode(cpu.bytes_at(rip, LONGEST), rip, cpu.code_bits)
    if one is not None and _repeats(one) and _stores(one, cpu, virt, width):
        return rip
    before = cpu.bytes_at(rip - _BEHIND, _BEHIND)
    if len(before) < _BEHIND:
        before = cpu.bytes_at(rip - LONGEST, LONGEST)
    ends = Counter(_last_before(before, rip, cpu.code_bits))
    fit = [(count, at) for (at, code), count in ends.items() if _stores(decode(code, at, cpu.code_bits), cpu, virt, width)]
    return max(fit)[1] if fit else None


def _last_before(before: bytes, rip: int, bits: int) -> Iterator[tuple[int, bytes]]:
    """For each place to begin at: where the instruction begins that then ends at ``rip``."""
    for begin in range(len(before)):
        last = None
        for one in decode_all(before[begin:], rip - len(before) + begin, bits):
            last = one
        if last is not None and last.address + last.size == rip:
            yield last.address, bytes(last.bytes)


def _repeats(one: Any) -> bool:
    return str(one.mnemonic).startswith(_REPEATS)


def _stores(one: Any, cpu: StoppedCpu, virt: int, width: int) -> bool:
    is_string = plain_name(one).startswith(_STRINGS)
    for access in accesses(one, KnownRegisters(cpu.general), cpu.platform):
        at = access.at
        if is_string:  # RDI has gone on
            at += access.width if cpu.registers.get("RFL", 0) & RFLAGS_DF else -access.width
        if AccessKind.WRITE in access.kinds and at < virt + width and virt < at + access.width:
            return True
    return False
