"""What a function keeps below RSP: where it writes there and reads it again (System V ABI, AMD64 supplement, 3.2.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.decode.memory_operands import accesses, plain_name
from cr3scope.x86.platform import Platform
from cr3scope.x86.word import QWORD

_TOP = 1 << 32  # stands for RSP at the function's first instruction
_RED_ZONE_BYTES = 128
_ENDS = ("ret", "jmp", "ud2", "hlt", "iretq", "sysretq", "sysexit")
_FRAME = {"rsp", "rbp"}


@dataclass(slots=True)
class _State:
    """RSP and RBP, as far as they follow from those at the beginning; and what was written below RSP."""

    known: dict[str, int | None]
    kept: dict[int, int] = field(default_factory=dict)  # address: bytes

    def copy(self) -> _State:
        return _State(dict(self.known), dict(self.kept))


def kept_below_rsp(code: Iterable[Any]) -> int | None:
    """Return the address of the first instruction that reads below RSP what the function wrote there; None if none does.

    ``code``: the function's instructions in order. Only straight ways and forward jumps are followed: where RSP is not
    known, nothing is claimed.
    """
    state: _State | None = _State({"rsp": _TOP, "rbp": None})
    waiting: dict[int, _State] = {}  # by the target of a forward jump
    for one in code:
        state = waiting.pop(one.address, state)
        if state is None:
            continue
        if _reads_back(one, state):
            return int(one.address)
        target = _jump_target(one)
        if target is not None and target > one.address:
            waiting.setdefault(target, state.copy())
        state = None if plain_name(one) in _ENDS else _after(one, state)
    return None


def _reads_back(one: Any, state: _State) -> bool:
    """Whether the instruction reads what was kept; what it writes below RSP is kept from now on."""
    rsp = state.known["rsp"]
    if rsp is None or "lock" in one.mnemonic:
        return False
    known = KnownRegisters({name: value for name, value in state.known.items() if value is not None})
    found = [access for access in accesses(one, known, Platform.HARDWARE) if rsp - _RED_ZONE_BYTES <= access.at < rsp]
    reads = any(AccessKind.READ in access.kinds and _overlaps(state.kept, access.at, access.width) for access in found)
    state.kept.update({access.at: access.width for access in found if AccessKind.WRITE in access.kinds})
    return reads


def _overlaps(kept: dict[int, int], at: int, width: int) -> bool:
    return any(start < at + width and at < start + size for start, size in kept.items())


def _jump_target(one: Any) -> int | None:
    from capstone import x86

    if not one.mnemonic.startswith("j") or one.operands[0].type != x86.X86_OP_IMM:
        return None
    return int(one.operands[0].imm)


def _after(one: Any, state: _State) -> _State | None:
    """The state behind the instruction; None where RSP is lost. What a call or a push may overwrite is kept no more."""
    from capstone import x86

    name, known = plain_name(one), state.known
    changed = {register for register in decode.written(one) if register in _FRAME or register in ("esp", "ebp", "sp", "bp")}
    if name == "call":
        state.kept.clear()
        return state
    if not changed:
        return state
    rsp, operands = known["rsp"], one.operands
    assert rsp is not None
    if name == "push":
        state.kept.clear()
        known["rsp"] = rsp - QWORD
    elif name == "pop":
        known["rsp"] = rsp + QWORD
        if "rbp" in changed:
            known["rbp"] = None
    elif name == "leave" and known["rbp"] is not None:
        known["rsp"], known["rbp"] = known["rbp"] + QWORD, None
    elif name in ("add", "sub") and changed == {"rsp"} and operands[1].type == x86.X86_OP_IMM:
        step = int(operands[1].imm)
        known["rsp"] = rsp + (step if name == "add" else -step)
    elif name == "mov" and operands[1].type == x86.X86_OP_REG:
        known[one.reg_name(operands[0].reg)] = known.get(one.reg_name(operands[1].reg))
    elif name == "lea" and operands[0].type == x86.X86_OP_REG:
        values = KnownRegisters({each: value for each, value in known.items() if value is not None})
        known[one.reg_name(operands[0].reg)] = decode.address(one, operands[1], values)
    else:
        known.update(dict.fromkeys(register for register in changed if register in _FRAME))
        if not changed <= _FRAME:
            return None
    return state if known["rsp"] is not None else None
