"""Whether a CPU goes nowhere on purpose: how most young kernels end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from cr3scope.model.follow.course import Why
from cr3scope.model.follow.follow import MOST_INSTRUCTIONS, Path, follow
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode.expected_memory import Read
from cr3scope.x86.registers import Registers

HLT = b"\xf4"
_PATTERN_BYTES = 16
_NEAR = MOST_INSTRUCTIONS // 2  # bytes: so many instructions in a row would be longer, or push more


class Park(Enum):
    """How a CPU is parked."""

    HALTED = "hlt in a loop of its own"
    LOOP = "a jump to itself"
    CIRCLE = "a loop of its own, which does nothing"


def park_of(read: Read, at: Registers, general: Mapping[str, int], bits: int, is_halted: bool) -> Park | None:
    """Return how a CPU is parked; None if it is not, or that is not certain.

    Parked is who comes back to the same place with the same stack by unconditional jumps, calls and returns alone and
    reads nothing but the stack on the way: whoever waits for a device, a lock or a flag reads it, and decides.
    ``read`` returns bytes of memory by virtual address as far as they are there, None for none. ``at`` and ``general``
    (by lower-case name): its registers; ``bits``: its code segment's size; ``is_halted``: it executed hlt, and RIP is behind that.
    """
    if is_halted:
        before = read((at.rip - len(HLT)) & (1 << bits) - 1, len(HLT))
        if before != HLT:
            return None
    if _is_pattern(read(at.rip, _PATTERN_BYTES) or b""):
        return None
    path = follow(read, general, at, bits)
    if any(step.kind is not AccessKind.FETCH and not step.role.is_stack for step in path.steps):
        return None
    if path.why is Why.LOOP and (path.last.rip, path.last.rsp) == (at.rip, at.rsp):
        return Park.LOOP
    if path.why is Why.HALT:
        return Park.HALTED if _is_back(read, at, bits, is_halted, path) else None
    is_near = abs(path.last.rip - at.rip) < _NEAR and abs(path.last.rsp - at.rsp) < _NEAR  # it came back, and calls nothing for ever
    return Park.CIRCLE if path.count == MOST_INSTRUCTIONS and is_near and not is_halted else None


def _is_pattern(code: bytes) -> bool:
    """Whether the same few bytes come again and again: somebody has filled the code with something."""
    periods = range(1, _PATTERN_BYTES // 2 + 1)
    return len(code) == _PATTERN_BYTES and any(code[period:] == code[:-period] for period in periods)


def _is_back(read: Read, at: Registers, bits: int, is_halted: bool, path: Path) -> bool:
    """Whether the hlt at which a way ends is come to again and again, with the same stack."""
    if is_halted:
        return (path.last.rip + len(HLT), path.last.rsp) == (at.rip, at.rsp)
    behind = replace(path.last, rip=path.last.rip + len(HLT))
    general = {name: value for name, value in path.at_end.items() if value is not None}
    return park_of(read, behind, general, bits, is_halted=True) is Park.HALTED
