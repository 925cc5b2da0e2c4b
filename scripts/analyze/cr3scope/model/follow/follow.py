"""Follows code without running it: the accesses that it is about to make, as far as they can be told.

Only what is certain is claimed. A register is known or unknown; an instruction that is not understood
makes unknown what it writes; a conditional jump is followed where the flags are known, and ends the way where they are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.model.follow.course import Course, OwnException, Space, Step, Why
from cr3scope.model.follow.execute import execute
from cr3scope.model.follow.stack_ahead import may_leave_stack
from cr3scope.model.role import Role
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.expected_memory import Read
from cr3scope.x86.decode.flags import counts_down
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers

MOST_INSTRUCTIONS = 256
NOT_DECODED = "the code is not followed: this Python has no module capstone"


@dataclass(frozen=True, slots=True)
class Path:
    """The accesses in their order, and why there are no further ones (``end`` is to be said of it).

    ``at_entry``: the general registers when the entry is reached, None each if not known; ``at_end``:
    where the way ends. ``count``: the instructions that were followed. ``last``: the registers at the
    first one that was not. ``stop``: the exception that this one raises by itself. ``cpu`` and ``bits``: the control
    registers and the size of the code segment there; ``loads``: of "gdt" and "idt" those that the way has loaded.
    """

    steps: tuple[Step, ...]
    end: Message
    why: Why
    at_entry: Mapping[str, int | None]
    count: int
    last: Registers
    at_end: Mapping[str, int | None]
    stop: OwnException | None = None
    cpu: CpuState | None = None
    bits: int = 64
    loads: frozenset[str] = frozenset()


def follow(
    read: Read,
    general: Mapping[str, int],
    registers: Registers,
    bits: int = 64,
    cpu: CpuState | None = None,
    platform: Platform = Platform.HARDWARE,
    space: Space | None = None,
    decides: bool = True,
    data: Read | None = None,
) -> Path:
    """Follow the code from ``registers.rip`` on, and return the way.

    ``read`` gives bytes of memory as they will be (virtual address, count), fewer at the end of what is mapped,
    None for none; ``general`` are the general registers by lower-case name; ``bits`` is the code segment's
    size. ``cpu`` tells which instructions are turned on; without it all are. ``space``: with it the way goes on behind
    the instruction that turns paging on. ``decides``: whether conditional jumps are followed, where the flags are known.
    ``data``: as ``read``, of what instructions load; None if the same gives both.
    """
    follower = _Follower(Course(read, general, registers, bits, platform, cpu, space, data))
    follower.course.decides = decides
    steps = tuple(follower.steps())
    course = follower.course
    return Path(
        steps, course.end, course.why, follower.at_entry, course.count, course.now,
        course.known.all(), course.stop, course.cpu, course.bits, frozenset(course.loads),
    )  # fmt: skip


class _Follower:
    def __init__(self, course: Course) -> None:
        self.course = course
        self._entered = False
        self.at_entry: Mapping[str, int | None] = {}

    def steps(self) -> Iterator[Step]:
        """Yield all accesses; the course's ``end`` is set afterwards."""
        course = self.course
        start = course.now.rip
        yield course.step(Role.NEXT_FETCH, course.pc, AccessKind.FETCH, 1, start)
        if not decode.can_decode():
            course.end = Message(NOT_DECODED)
            return
        page = course.pc & -PAGE_BYTES
        for _ in range(MOST_INSTRUCTIONS):
            at = course.now.rip
            one = self._decode(at)
            if one is None:
                break
            last = course.in_segment("cs", at + one.size - 1)
            if last & -PAGE_BYTES != page:
                page = last & -PAGE_BYTES
                yield course.step(Role.FETCH, page, AccessKind.FETCH, 1, at)
            had_turned = course.has_turned
            target = yield from execute(course, one, course.cpu)
            if target is None or course.stop is not None:
                break
            target &= course.code_mask
            course.count += 1
            is_jump = target != at + one.size
            course.now = replace(course.now, rip=target)
            if course.has_turned and not had_turned:
                yield course.step(Role.NEXT_FETCH, course.pc, AccessKind.FETCH, 1, at)
            elif course.pc & -PAGE_BYTES != page:
                page = course.pc & -PAGE_BYTES
                role = Role.FETCH
                if is_jump and not self._entered:
                    role, self._entered, self.at_entry = Role.ENTRY, True, course.known.all()
                yield course.step(role, course.pc, AccessKind.FETCH, 1, at)
            if target == at and counts_down(one) is None:
                course.end, course.why = message("an endless loop at {rip}", rip=Hex(at)), Why.LOOP
                break
        if not course.wrote_stack and not course.loses_stack and not course.has_turned and course.stop is None and not (
            course.why is Why.UNTOLD and may_leave_stack(course)
        ):
            # An interrupt, a call, a push: some write to the stack always follows. Who turns paging on may have none yet.
            at = course.in_segment("ss", course.now.rsp - course.word & course.stack_mask)
            yield course.step(Role.STACK_WRITE, at, AccessKind.WRITE, course.word, course.now.rip)

    def _decode(self, at: int) -> Any:
        course = self.course
        code = course.memory.read(course.pc, decode.LONGEST)
        if not code:
            course.end = message("the code at {rip} cannot be read", rip=Hex(at))
            return None
        one = decode.decode(code, at, course.bits)
        if one is None:
            words = "the bytes at {rip} are no instruction that the decoder knows: {code}"
            course.end = message(words, rip=Hex(at), code=code[:8])
            course.why = Why.NO_INSTRUCTION
        elif course.memory.is_written(course.pc, one.size):
            course.end = message("the code at {rip} is written on the way", rip=Hex(at))
            return None
        return one
