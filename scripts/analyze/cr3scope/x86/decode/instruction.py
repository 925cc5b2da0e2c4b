"""Instructions as they stand in memory, decoded by capstone, and where their memory operands lie."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.word import MASK32, MASK64, MAX_INSTRUCTION_BYTES

OPERAND_SIZE = 0x66  # the prefix
LONGEST = MAX_INSTRUCTION_BYTES
# capstone 5 calls a far transfer through memory a near one (Intel SDM volume 2A, JMP and CALL: FF /3 and /5).
_GROUP_5, _FAR_OF_GROUP_5 = 0xFF, {3: "lcall", 5: "ljmp"}
_IDLE_PREFIXES = ("rep", "repz", "bnd", "notrack")  # of a near transfer
_OF_STACK = ("rsp", "rbp", "esp", "ebp", "sp", "bp")
_OTHER_NAMES = {"ud2b": "ud1"}
_SETUPTOOLS = "_distutils_hack"  # the module of its finder


def can_decode() -> bool:
    """Return whether capstone is installed, in a form that this Python can load."""
    try:
        _capstone()
    except ImportError:
        return False
    return True


class Instruction:
    """A capstone CsInsn with details, under the name that capstone 4 and 5 would both give it."""

    __slots__ = ("_decoded", "bits", "mnemonic")

    def __init__(self, decoded: Any, bits: int) -> None:
        self._decoded = decoded
        self.bits = bits  # of the code segment
        self.mnemonic = _name(decoded)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoded, name)


def decode(code: bytes, at: int, bits: int = 64) -> Any:
    """Return the first instruction of ``code``, an :class:`Instruction`; None if it is none.

    ``bits``: of the code segment, 64, 32 or 16.
    """
    decoded = next(_decoder(bits).disasm(code, at, 1), None)
    return None if decoded is None else Instruction(decoded, bits)


def operand_bytes(one: Any) -> int:
    """Return the operand size of an instruction without REX.W: 2 or 4, by the code segment and the prefix (SDM volume 1, 3.6.1)."""
    return 2 if (OPERAND_SIZE in one.prefix) != (one.bits == 16) else 4


def decode_all(code: bytes, at: int, bits: int = 64) -> Iterator[Any]:
    """Yield the instructions of ``code`` one behind the other, up to the first bytes that are none."""
    yield from (Instruction(one, bits) for one in _decoder(bits).disasm(code, at))


def operands_of(code: bytes, at: int, bits: int = 64) -> list[str]:
    """Return the operands of the same instructions, as they are written; takes a tenth of the time."""
    return [operands for _, _, _, operands in _decoder(bits).disasm_lite(code, at)]


def text(one: Any) -> str:
    """Return an instruction as an assembler writes it, in Intel's syntax."""
    return f"{one.mnemonic} {one.op_str}".strip()


def written(one: Any) -> set[str]:
    """Return the names of the registers that an instruction may change.

    capstone 4 lets TEST write its operand, capstone 5 a BSWAP of 16 bits (whose result is undefined) nothing.
    """
    if one.mnemonic == "test":
        return set()
    names = {one.reg_name(register) for register in one.regs_access()[1]}
    return names | {one.reg_name(one.operands[0].reg)} if one.mnemonic == "bswap" else names


def address(one: Any, operand: Any, known: KnownRegisters) -> int | None:
    """Return the linear address of a memory operand.

    None if a register of it is not known, or the base of its segment.
    """
    offset = offset_of(one, operand, known)
    segment = segment_of(one, operand)
    base: int | None = 0
    if one.bits != 64 or segment in ("fs", "gs"):  # 64-bit mode takes the others for 0 (SDM 3A, 3.4.4)
        base = known.get(f"{segment}_base")
    if base is None or offset is None:
        return None
    return offset + base & (MASK64 if one.bits == 64 else MASK32)


def segment_of(one: Any, operand: Any) -> str:
    """Return the segment register of a memory operand: the one that a prefix names, else SS for what counts from the
    stack or frame pointer, ES for what a string instruction writes, DS (SDM volume 1, 3.7.4)."""
    place = operand.mem
    if place.segment:
        return str(one.reg_name(place.segment))
    name = one.reg_name(place.base) if place.base else ""
    return "ss" if name in _OF_STACK else "ds"


def offset_of(one: Any, operand: Any, known: KnownRegisters) -> int | None:
    """Return the offset of a memory operand in its segment; None if a register of it is not known."""
    from capstone import x86

    place = operand.mem
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
    return offset


def _name(decoded: Any) -> str:
    name: str = decoded.mnemonic
    if decoded.opcode[0] == _GROUP_5 and decoded.opcode[1] == 0:
        return _FAR_OF_GROUP_5.get(decoded.modrm >> 3 & 7, name)
    before, _, last = name.rpartition(" ")
    if before in _IDLE_PREFIXES and last in ("ret", "jmp", "call"):
        return last
    return _OTHER_NAMES.get(name, name)


@cache
def _decoder(bits: int) -> Any:
    capstone = _capstone()
    modes = {64: capstone.CS_MODE_64, 32: capstone.CS_MODE_32, 16: capstone.CS_MODE_16}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    decoder.detail = True
    return decoder


def _capstone() -> ModuleType:
    """The library. capstone 4 asks for distutils, of which it then takes nothing; a finder of setuptools would give its own, and
    bring all of setuptools along: eight times as long. Where no other is (Python 3.12), that one it is."""
    finders = list(sys.meta_path)
    sys.meta_path[:] = [one for one in finders if type(one).__module__ != _SETUPTOOLS]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of distutils
            return importlib.import_module("capstone")
    except ImportError:
        pass
    finally:
        sys.meta_path[:] = finders
    return importlib.import_module("capstone")
