"""What an instruction does with each of its memory operands: where, how many bytes, read or written.

capstone tells the operands; its word on reads and writes is right for the general instructions only, so
those that store, shift or exchange are listed here (Intel SDM volume 2). tests/gdb/test_gdb_model.py holds
this against QEMU's TCG.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.word import MASK32, MASK64

# By mnemonic, without prefixes: the beginning is enough.
_NO_ACCESS = ("lea", "nop", "bnd", "prefetch", "invlpg", "clflush", "clwb", "cldemote", "endbr")
_STORES = ("mov", "vmov", "set", "fst", "fist", "fbstp", "fnst", "fnsave", "stmxcsr", "vstmxcsr", "pextr",
           "vpextr", "extractps", "vextract", "sgdt", "sidt", "sldt", "smsw", "fxsave", "xsave", "stos",
           "ins", "pop")  # fmt: skip
_READS = ("test", "cvt", "outs", "frstor", "fxrstor", "xrstor")
_CHANGES = frozenset({"rcl", "rcr", "rol", "ror", "shl", "shr", "sar", "sal", "shld", "shrd", "cmpxchg",
                      "cmpxchg8b", "cmpxchg16b", "xchg", "xadd"})  # fmt: skip
_BIT_TESTS = ("bt", "bts", "btr", "btc")
_TABLES = ("lgdt", "lidt", "sgdt", "sidt")
_FAR = ("ljmp", "lcall", "lss", "lds", "les", "lfs", "lgs")
_BYTES = {
    "fxsave": 512, "fxsave64": 512, "fxrstor": 512, "fxrstor64": 512, "xsave": 576, "xsave64": 576,
    "xrstor": 576, "xrstor64": 576, "fnsave": 108, "frstor": 108, "fnstsw": 2, "lar": 2, "lsl": 2,
    "comiss": 4, "ucomiss": 4, "comisd": 8, "ucomisd": 8,
}  # fmt: skip
# Operands that must be aligned, or #GP(0): by mnemonic, without a `v`, bytes.
_ALIGNED = {
    "movaps": 16, "movapd": 16, "movdqa": 16, "movntps": 16, "movntpd": 16, "movntdq": 16,
    "movntdqa": 16, "fxsave": 16, "fxsave64": 16, "fxrstor": 16, "fxrstor64": 16, "cmpxchg16b": 16,
    "xsave": 64, "xsave64": 64, "xrstor": 64, "xrstor64": 64,
}  # fmt: skip
REX_W = 8


@dataclass(frozen=True, slots=True)
class Access:
    """``kinds`` in the order in which they are made."""

    at: int
    width: int
    kinds: tuple[AccessKind, ...]
    segment: str = "ds"
    offset: int = 0  # in that segment


def alignment(one: Any) -> int:
    """Return what the memory operand's address must be a multiple of, in bytes; 1 if any address will do."""
    return _ALIGNED.get(plain_name(one).removeprefix("v"), 1)


def plain_name(one: Any) -> str:
    """Return the mnemonic without `rep` and `lock`."""
    return str(one.mnemonic).rpartition(" ")[2]


def accesses(one: Any, known: KnownRegisters, platform: Platform) -> Iterator[Access]:
    """Yield the accesses to memory in the order in which they are made, without those whose address is not known."""
    from capstone import x86

    name = plain_name(one)
    if name == "xlatb":
        table, index = known.get({8: "rbx", 4: "ebx", 2: "bx"}[one.addr_size]), known.get("al")
        is_other = one.bits != 64 and one.prefix[1]  # a segment prefix, which capstone does not tell as an operand
        base = 0 if one.bits == 64 else None if is_other else known.get("ds_base")
        if table is not None and index is not None and base is not None:
            offset = table + index & (1 << 8 * one.addr_size) - 1
            yield Access(base + offset & (MASK64 if one.bits == 64 else MASK32), 1, (AccessKind.READ,), "ds", offset)
    if name.startswith(_NO_ACCESS):
        return
    found = []
    for place, operand in enumerate(one.operands):
        at = decode.address(one, operand, known) if operand.type == x86.X86_OP_MEM else None
        kinds = _kinds(name, place, operand, platform)
        if at is not None and name in _BIT_TESTS:
            at = _of_bit(one, operand, at, known)
        if at is not None and kinds:
            offset = decode.offset_of(one, operand, known) or 0
            found.append(Access(at, _width(one, name, operand), kinds, decode.segment_of(one, operand), offset))
    is_reversed = name.startswith("cmps") and platform.has(Quirk.COMPARES_BACKWARDS)
    if len(found) > 1 and (found[0].kinds[0] is AccessKind.WRITE or is_reversed):
        found.reverse()  # MOVS reads before it writes
    yield from found


def _kinds(name: str, place: int, operand: Any, platform: Platform) -> tuple[AccessKind, ...]:
    from capstone import CS_AC_READ, CS_AC_WRITE

    if name in _CHANGES:
        reads = writes = True
    elif name.startswith(_READS):
        reads, writes = True, False
    elif name.startswith(_STORES):
        reads, writes = place > 0, place == 0
    elif name in _FAR:
        reads, writes = True, False
    else:
        reads, writes = bool(operand.access & CS_AC_READ), bool(operand.access & CS_AC_WRITE)
    if reads and writes:
        both = AccessKind.READ, AccessKind.WRITE
        return both if platform.has(Quirk.READS_BEFORE_WRITE) else both[1:]
    return (AccessKind.READ,) * reads + (AccessKind.WRITE,) * writes


def _width(one: Any, name: str, operand: Any) -> int:
    if name in _TABLES:
        return table_bytes(one)
    if name in _FAR:
        return 2 + far_bytes(one)
    return _BYTES.get(name, int(operand.size))


def table_bytes(one: Any) -> int:
    """Return how many bytes LGDT, LIDT, SGDT and SIDT move: a limit of two, and a base (SDM 2A, LGDT)."""
    return 10 if one.bits == 64 else 6


def far_bytes(one: Any) -> int:
    """Return how many bytes the offset in a far pointer has."""
    if one.rex & REX_W:
        return 8
    return decode.operand_bytes(one)


def _of_bit(one: Any, operand: Any, at: int, known: KnownRegisters) -> int | None:
    """BT with a register counts bits from the operand on, in both directions (SDM volume 2A, 3.1.1.9)."""
    from capstone import x86

    bit = one.operands[1]
    if bit.type != x86.X86_OP_REG:
        return at
    offset, bits = known.get(one.reg_name(bit.reg)), 8 * operand.size
    if offset is None:
        return None
    if offset >> bits - 1:
        offset -= 1 << bits
    place: int = at + offset // bits * operand.size
    return place & (MASK64 if one.bits == 64 else MASK32)
