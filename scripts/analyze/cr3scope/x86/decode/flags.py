"""The arithmetic flags behind an instruction, and which way a conditional jump then goes, as far as either is known.

Intel SDM volume 1, 3.4.3.1 (what the flags say), appendix A (who changes them); volume 2A, Jcc, LOOP. What the manual leaves undefined
is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.x86.decode.known_registers import KnownRegisters


@dataclass(frozen=True, slots=True)
class Flags:
    """Each is None if it is not known."""

    carry: bool | None = None
    zero: bool | None = None
    sign: bool | None = None
    overflow: bool | None = None
    parity: bool | None = None


UNKNOWN = Flags()
# Mnemonics, without prefixes, that leave the arithmetic flags as they are; what is not here and not computed makes them unknown.
_KEEP = frozenset({
    "mov", "movabs", "movzx", "movsx", "movsxd", "lea", "push", "pop", "xchg", "not", "bswap", "nop", "pause", "leave", "enter", "jmp",
    "ljmp", "call", "lcall", "ret", "retf", "in", "out", "cli", "sti", "cld", "std", "lgdt", "lidt", "sgdt", "sidt", "ltr", "lldt",
    "invlpg", "wbinvd", "rdmsr", "wrmsr", "cpuid", "rdtsc", "cbw", "cwde", "cdqe", "cwd", "cdq", "cqo", "endbr64", "endbr32", "swapgs",
    "mfence", "lfence", "sfence", "pushf", "pushfd", "pushfq", "lds", "les", "lfs", "lgs", "lss", "loop", "jrcxz", "jecxz", "jcxz",
})  # fmt: skip
_KEEP_BEGINNINGS = ("stos", "movs", "lods", "ins", "outs", "cmov", "set", "j")
_LOGIC = frozenset({"and", "or", "xor", "test"})
_SHIFTS = frozenset({"shl", "sal", "shr"})
_DIFFERENCES = frozenset({"sub", "cmp"})
_LOOP, _AT_ZERO = "loop", ("jrcxz", "jecxz", "jcxz")
_COUNTERS = {8: "rcx", 4: "ecx", 2: "cx"}


def flags_after(one: Any, before: Flags, value: Callable[[Any], int | None]) -> Flags:
    """Return the flags behind an instruction; ``value`` tells what an operand holds before it, None if that is not known."""
    name = str(one.mnemonic).rpartition(" ")[2]
    if name in _LOGIC or name in _DIFFERENCES or name == "add":
        return _of_two(one, name, value)
    if name in ("inc", "dec") and len(one.operands) == 1:
        bits, first = 8 * one.operands[0].size, value(one.operands[0])
        changed = UNKNOWN if first is None else _sum(first, 1, bits) if name == "inc" else _difference(first, 1, bits)
        return replace(changed, carry=before.carry)
    if name in _SHIFTS and len(one.operands) == 2:
        return _shifted(one, name, before, value)
    if name in _KEEP or name.startswith(_KEEP_BEGINNINGS):
        return before
    return UNKNOWN


def is_taken(one: Any, flags: Flags, known: KnownRegisters) -> bool | None:
    """Return whether a conditional jump, or a LOOP, is taken; None if that is not known. ``known``: before the instruction."""
    name = str(one.mnemonic)
    if name == _LOOP or name in _AT_ZERO:
        count = known.get(_COUNTERS[one.addr_size] if name == _LOOP else {"jrcxz": "rcx", "jecxz": "ecx", "jcxz": "cx"}[name])
        if count is None:
            return None
        return count != 1 if name == _LOOP else count == 0
    condition = name.removeprefix("j")
    known_condition = _CONDITIONS.get(condition)
    if known_condition is not None:
        return known_condition(flags)
    opposite = _CONDITIONS.get(_OPPOSITES.get(condition, ""))
    return None if opposite is None else _not(opposite(flags))


def counts_down(one: Any) -> str | None:
    """Return the register that an instruction counts down though it is no operand; None for all but LOOP without a condition."""
    return _COUNTERS[one.addr_size] if one.mnemonic == _LOOP else None


def _of_two(one: Any, name: str, value: Callable[[Any], int | None]) -> Flags:
    if len(one.operands) != 2:
        return UNKNOWN
    left, right = one.operands
    bits = 8 * left.size
    is_itself = name in ("xor", "sub") and left.type == right.type and bool(left.reg) and left.reg == right.reg
    first, second = value(left), value(right)
    if is_itself:
        first = second = 0
    if first is None or second is None:
        return replace(UNKNOWN, carry=False, overflow=False) if name in _LOGIC else UNKNOWN
    other = second & (1 << bits) - 1  # an immediate operand is extended by its sign
    if name == "add":
        return _sum(first, other, bits)
    if name in _DIFFERENCES:
        return _difference(first, other, bits)
    combined = {"or": first | other, "xor": first ^ other}.get(name, first & other)
    return replace(_of(combined, bits), carry=False, overflow=False)


def _shifted(one: Any, name: str, before: Flags, value: Callable[[Any], int | None]) -> Flags:
    """SHL, SHR: CF is the last bit that went out, and OF undefined but for a shift by one (SDM 2B, SAL/SAR/SHL/SHR)."""
    first, count = value(one.operands[0]), value(one.operands[1])
    bits = 8 * one.operands[0].size
    if first is None or count is None:
        return UNKNOWN
    count &= 63 if bits == 64 else 31
    if not count:
        return before
    if count > bits:
        return UNKNOWN
    left = name != "shr"
    return replace(_of(first << count if left else first >> count, bits), carry=bool(first >> (bits - count if left else count - 1) & 1))


def _of(result: int, bits: int) -> Flags:
    result &= (1 << bits) - 1
    return Flags(zero=not result, sign=bool(result >> bits - 1), parity=(result & 0xFF).bit_count() % 2 == 0)


def _sum(first: int, second: int, bits: int) -> Flags:
    whole = first + second
    changed = (first ^ whole) & (second ^ whole)
    return replace(_of(whole, bits), carry=whole >> bits != 0, overflow=bool(changed >> bits - 1 & 1))


def _difference(first: int, second: int, bits: int) -> Flags:
    whole = first - second
    changed = (first ^ second) & (first ^ whole)
    return replace(_of(whole, bits), carry=first < second, overflow=bool(changed >> bits - 1 & 1))


def _not(known: bool | None) -> bool | None:
    return None if known is None else not known


def _either(first: bool | None, second: bool | None) -> bool | None:
    if first or second:
        return True
    return None if first is None or second is None else False


def _differ(first: bool | None, second: bool | None) -> bool | None:
    return None if first is None or second is None else first != second


def _less(flags: Flags) -> bool | None:
    return _differ(flags.sign, flags.overflow)


_CONDITIONS: dict[str, Callable[[Flags], bool | None]] = {
    "o": lambda flags: flags.overflow, "b": lambda flags: flags.carry, "e": lambda flags: flags.zero,
    "be": lambda flags: _either(flags.carry, flags.zero), "s": lambda flags: flags.sign, "p": lambda flags: flags.parity,
    "l": _less, "le": lambda flags: _either(flags.zero, _less(flags)),
}  # fmt: skip
_OPPOSITES = {"no": "o", "ae": "b", "ne": "e", "a": "be", "ns": "s", "np": "p", "ge": "l", "g": "le"}
