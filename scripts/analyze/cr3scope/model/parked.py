"""Whether a CPU goes nowhere on purpose: how most young kernels end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from cr3scope.model.canary import passes_canary
from cr3scope.model.follow.course import Step, Why
from cr3scope.model.follow.follow import MOST_INSTRUCTIONS, Path, follow
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode.expected_memory import Read
from cr3scope.x86.registers import Registers

_SLEEPS = (b"\xf4", b"\x0f\x01\xc9")  # hlt, mwait: what a halted CPU has executed
_PATTERN_BYTES = 16
_NEAR = MOST_INSTRUCTIONS // 2  # bytes: so many instructions in a row would be longer, or push more
_MOST_CANARIES = 4  # on one way
_FRAME_BYTES = 256  # around RSP


class Park(Enum):
    """How a CPU is parked."""

    HALTED = "hlt in a loop of its own"
    WAITS = "mwait in a loop of its own"
    LOOP = "a jump to itself"
    CIRCLE = "a loop of its own, which does nothing"


def park_of(read: Read, at: Registers, general: Mapping[str, int], bits: int, is_halted: bool) -> Park | None:
    """Return how a CPU is parked; None if it is not, or that is not certain.

    Parked is who comes back to the same place with the same stack by unconditional jumps, calls and returns alone and
    reads nothing but the stack on the way: whoever waits for a device, a lock or a flag reads it, and decides. The check of
    a stack protector's canary decides nothing.
    ``read`` returns bytes of memory by virtual address as far as they are there, None for none. ``at`` and ``general``
    (by lower-case name): its registers; ``bits``: its code segment's size; ``is_halted``: it executed hlt or mwait, and RIP is behind that.
    """
    if is_halted and _slept(read, at, bits) is None:
        return None
    if _is_pattern(read(at.pc, _PATTERN_BYTES) or b""):
        return None
    path, guards, circles = _way(read, at, general, bits)
    if any(not _is_own(step, guards) for step in path.steps):
        return None
    if path.why is Why.LOOP and (path.last.rip, path.last.rsp) == (at.rip, at.rsp):
        return Park.LOOP
    if path.why is Why.HALT:
        return _sleep(read, path, bits) if _is_back(read, at, bits, is_halted, path) else None
    is_near = abs(path.last.rip - at.rip) < _NEAR and abs(path.last.rsp - at.rsp) < _NEAR  # it came back, and calls nothing for ever
    return Park.CIRCLE if (path.count == MOST_INSTRUCTIONS and is_near or circles) and not is_halted else None


def _way(read: Read, at: Registers, general: Mapping[str, int], bits: int) -> tuple[Path, frozenset[int], bool]:
    """The way from here on, through checks of canaries; where their guards lie; whether it leads to the same check again."""
    path, begin = follow(read, general, at, bits, decides=False), at.rip
    guards: set[int] = set()
    seen: set[tuple[int, int]] = set()
    for _ in range(_MOST_CANARIES):
        passed = passes_canary(read, path, begin, bits) if path.why is Why.UNTOLD else None
        if passed is None:
            break
        place = path.last.rip, path.last.rsp
        if place in seen:
            return path, frozenset(guards), True
        seen.add(place)
        guards.add(passed.guard)
        begin = passed.rip
        known = {name: value for name, value in path.at_end.items() if value is not None}
        later = follow(read, known, replace(path.last, rip=begin), bits, decides=False)
        path = replace(later, steps=(*path.steps, *later.steps))
    return path, frozenset(guards), False


def _is_own(step: Step, guards: frozenset[int]) -> bool:
    """Whether an access tells nobody anything: of code, by RSP, and where canaries are kept of the guard and of the frame."""
    if step.kind is AccessKind.FETCH or step.role.is_stack:
        return True
    return bool(guards) and (step.virt in guards or abs(step.virt - step.registers.rsp) < _FRAME_BYTES)


def _slept(read: Read, at: Registers, bits: int) -> bytes | None:
    """The instruction before RIP if it is one that halts."""
    mask = (1 << bits) - 1
    return next((one for one in _SLEEPS if read(at.linear("cs", at.rip - len(one) & mask), len(one)) == one), None)


def _sleep(read: Read, path: Path, bits: int) -> Park:
    at = path.last.linear("cs", path.last.rip & (1 << bits) - 1)
    return Park.HALTED if read(at, 1) == _SLEEPS[0] else Park.WAITS


def _behind(read: Read, path: Path, bits: int) -> int:
    """The address behind the instruction at which a way ends that halts."""
    return path.last.rip + len(_SLEEPS[0] if _sleep(read, path, bits) is Park.HALTED else _SLEEPS[1])


def _is_pattern(code: bytes) -> bool:
    """Whether the same few bytes come again and again: somebody has filled the code with something."""
    periods = range(1, _PATTERN_BYTES // 2 + 1)
    return len(code) == _PATTERN_BYTES and any(code[period:] == code[:-period] for period in periods)


def _is_back(read: Read, at: Registers, bits: int, is_halted: bool, path: Path) -> bool:
    """Whether the hlt at which a way ends is come to again and again, with the same stack."""
    if is_halted:
        return (_behind(read, path, bits), path.last.rsp) == (at.rip, at.rsp)
    behind = replace(path.last, rip=_behind(read, path, bits))
    general = {name: value for name, value in path.at_end.items() if value is not None}
    return park_of(read, behind, general, bits, is_halted=True) in (Park.HALTED, Park.WAITS)
