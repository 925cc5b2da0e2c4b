"""Follows code without running it: the accesses that it is about to make, as far as they can be told.

Only what is certain is claimed. A register is known or unknown; an instruction that is not understood
makes unknown what it writes; a branch that hangs on flags ends the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cr3scope.capture.records import AccessKind
from cr3scope.exceptions import DIVIDE, UNDEFINED
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.paging.platform import Platform
from cr3scope.predict.code import decode, segment_steps
from cr3scope.predict.code.course import Course, OwnException, Step, Way, Why
from cr3scope.predict.code.data_steps import operand_steps, repeated
from cr3scope.predict.delivery import Registers
from cr3scope.predict.code.expected_memory import Read
from cr3scope.predict.code.known_registers import is_part_of
from cr3scope.predict.code.memory_operands import far_bytes
from cr3scope.predict.code.missing_state import missing_state
from cr3scope.predict.code.operands import quotient_fits, result
from cr3scope.predict.code.segment_load import STACK, Refused

MOST_INSTRUCTIONS = 256
_QWORD = 8
_TRAP, _DIRECTION = 1 << 8, 1 << 10  # of RFLAGS
_EFER = 0xC0000080
_BASES = {0xC0000100: "fs_base", 0xC0000101: "gs_base"}  # MSRs
_ENDS = frozenset({"hlt", "int3", "int", "int1", "syscall", "sysret", "sysexit", "vmlaunch"})
_CONDITIONAL = ("loop", "jrcxz", "jecxz")
_PUSHED_FLAGS, _POPPED_FLAGS = ("pushf", "pushfd", "pushfq"), ("popf", "popfd", "popfq")
_FAR_RETURNS = {"retf": 4, "retfq": 8, "iretd": 4, "iretq": 8}  # bytes of each word they pop
_RPL = 3


@dataclass(frozen=True, slots=True)
class Path:
    """The accesses in their order, and why there are no further ones (``end`` in words).

    ``at_entry``: the general registers when the entry is reached, None each if not known; ``at_end``:
    where the way ends. ``count``: the instructions that were followed. ``last``: the registers at the
    first one that was not. ``stop``: the exception that this one raises by itself.
    """

    steps: tuple[Step, ...]
    end: str
    why: Why
    at_entry: Mapping[str, int | None]
    count: int
    last: Registers
    at_end: Mapping[str, int | None]
    stop: OwnException | None = None


def follow(
    read: Read,
    general: Mapping[str, int],
    registers: Registers,
    bits: int = 64,
    cpu: CpuState | None = None,
    platform: Platform = Platform.HARDWARE,
) -> Path:
    """The way from ``registers.rip`` on.

    ``read`` gives bytes of memory as they will be (virtual address, count), fewer at the end of what is
    mapped, None for none; ``general`` are the general registers by lower-case name; ``bits`` is the
    code segment's size. ``cpu`` tells which instructions are turned on; without it all are.
    """
    follower = _Follower(Course(read, general, registers, bits, platform), cpu)
    steps = tuple(follower.steps())
    course = follower.course
    return Path(
        steps, course.end, course.why, follower.at_entry, course.count, course.now,
        course.known.all(), course.stop,
    )  # fmt: skip


class _Follower:
    def __init__(self, course: Course, cpu: CpuState | None) -> None:
        self.course = course
        self._cpu = cpu
        self._entered = False
        self.at_entry: Mapping[str, int | None] = {}

    def steps(self) -> Iterator[Step]:
        """All accesses; the course's ``end`` is set afterwards."""
        course = self.course
        start = course.now.rip
        yield course.step("next fetch", start, AccessKind.FETCH, 1, start)
        page = start & -PAGE_BYTES
        course.end = "no more are followed"
        for _ in range(MOST_INSTRUCTIONS):
            at = course.now.rip
            one = self._decode(at)
            if one is None:
                break
            last = at + one.size - 1
            if last & -PAGE_BYTES != page:
                page = last & -PAGE_BYTES
                yield course.step("fetch", page, AccessKind.FETCH, 1, at)
            target = yield from self._execute(one)
            if target is None:
                break
            target &= course.mask
            course.count += 1
            is_jump = target != at + one.size
            course.now = replace(course.now, rip=target)
            if target & -PAGE_BYTES != page:
                page = target & -PAGE_BYTES
                name = "fetch"
                if is_jump and not self._entered:
                    name, self._entered, self.at_entry = "entry", True, course.known.all()
                yield course.step(name, target, AccessKind.FETCH, 1, at)
            if target == at:
                course.end, course.why = f"an endless loop at {at:#x}", Why.LOOP
                break
        if not course.wrote_stack and course.stop is None:
            # An interrupt, a call, a push: some write to the stack always follows.
            at = course.now.rsp - _QWORD
            yield course.step("stack write", at, AccessKind.WRITE, _QWORD, course.now.rip)

    def _decode(self, at: int) -> Any:
        course = self.course
        if course.bits == 16:
            course.end = f"the code at {at:#x} is 16-bit code"
            return None
        code = course.memory.read(at, decode.LONGEST)
        if not code:
            course.end = f"the code at {at:#x} cannot be read"
            return None
        one = decode.decode(code, at, course.bits)
        if one is None:
            course.end = f"the bytes at {at:#x} are no instruction: {code[:8].hex(' ')}"
            course.why = Why.NO_INSTRUCTION
        elif course.memory.is_written(at, one.size):
            course.end = f"the code at {at:#x} is written on the way"
            return None
        return one

    def _execute(self, one: Any) -> Way:
        """The accesses of one instruction; returns where it goes on, None at the end."""
        course = self.course
        groups = {one.group_name(group) for group in one.groups}
        name: str = one.mnemonic
        refused = self._refused(one)
        if refused is not None:
            course.stops(one, refused)
            return None
        if name in _ENDS or name.startswith(_CONDITIONAL):
            return course.ends(one)
        if name.startswith("maskmov"):  # what it writes hangs on its data
            return course.ends(one)
        if name == "wrmsr" and course.known.get("ecx") in (None, _EFER):
            return course.ends(one)
        if "ret" in groups or "iret" in groups:
            return (yield from self._return(one))
        if "jump" in groups or "call" in groups:
            if "jump" in groups and name not in ("jmp", "ljmp"):
                return course.ends(one)
            return (yield from self._branch(one))
        if name.startswith("rep"):
            return (yield from repeated(course, one))
        return (yield from self._plain(one))

    def _refused(self, one: Any) -> Refused | None:
        """By what it is, or by registers; memory comes later."""
        if one.mnemonic in ("ud0", "ud1", "ud2"):
            return Refused(UNDEFINED, None, "the program gives up by itself")
        off = missing_state(one, self._cpu) if self._cpu is not None and _has_state(one) else None
        return Refused(UNDEFINED, None, f"it needs {off}") if off else None

    def _plain(self, one: Any) -> Way:
        """What is no control transfer."""
        course, known = self.course, self.course.known
        name: str = one.mnemonic
        writes = {one.reg_name(register) for register in one.regs_access()[1]}
        if name == "mov" and writes & {"cr0", "cr3", "cr4"}:
            return course.ends(one)
        destination = _destination(one)
        pops_to_memory = name == "pop" and destination is None
        if not pops_to_memory:
            yield from operand_steps(course, one)
        if course.stop is not None:
            return None
        if name in ("div", "idiv"):
            fits = quotient_fits(one, known, course.source)
            if fits is False:
                course.stops(one, Refused(DIVIDE, None, "the divisor is 0, or the quotient too large"))
            if not fits:
                return None if course.stop else course.ends(one)
        segment = segment_steps.loaded(course, one, destination)
        if segment is not None and not (yield from segment_steps.load(course, one, *segment)):
            return None
        source, value, frame = course.source(one), result(one, known, course.source), known.get("rbp")
        on_stack = {register for register in writes if is_part_of(register, "rsp")}
        for register in writes - on_stack:
            known.set(register, None)
        self._bases(one, name)
        if name == "push":
            yield from course.push(one, source, course.pushed_bytes(one))
        elif name in _PUSHED_FLAGS:
            yield from course.push(one, None, course.pushed_bytes(one))
            course.pushed_flags[course.now.rsp] = course.now.rflags
        elif name in _POPPED_FLAGS:
            yield from self._pop_flags(one)
            if course.now.rflags & _TRAP:
                return course.ends(one)
        elif pops_to_memory:
            yield from course.pop_to_memory(one, course.pushed_bytes(one))
        elif name == "pop":
            value = yield from course.pop(one, course.pushed_bytes(one))
        elif name == "enter":
            if one.operands[1].imm:  # nested procedures, which nobody has
                return course.ends(one)
            yield from course.push(one, frame, course.word)
            known.set("rbp", course.now.rsp)
            course.move_stack(course.now.rsp - one.operands[0].imm)
        elif name == "leave" and frame is not None:
            known.set("rbp", (yield from course.peek(one, frame, course.word)))
            course.move_stack(frame + course.word)
        elif on_stack and value is None:
            return course.ends(one)
        elif name in ("lgdt", "lidt"):
            segment_steps.load_table(course, one)
        elif name in ("std", "cld"):
            flags = course.now.rflags & ~_DIRECTION
            course.now = replace(course.now, rflags=flags | _DIRECTION * (name == "std"))
        if destination in on_stack and name != "push" and value is None:
            return course.ends(one)
        if destination is not None and value is not None:
            known.set(destination, value)
            if destination in on_stack:
                course.move_stack(known.get("rsp") or 0)
        following: int = one.address + one.size
        return following

    def _bases(self, one: Any, name: str) -> None:
        """FS and GS bases that are known no more."""
        known = self.course.known
        loaded = {"fs": "fs_base", "gs": "gs_base"}.get(_destination(one) or "")
        if loaded and name in ("mov", "pop"):
            known.set(loaded, None)
        elif name in ("lfs", "wrfsbase"):
            known.set("fs_base", None)
        elif name in ("lgs", "wrgsbase", "swapgs"):
            known.set("gs_base", None)
        elif name == "wrmsr" and (base := _BASES.get(known.get("ecx") or 0)) is not None:
            known.set(base, None)

    def _pop_flags(self, one: Any) -> Iterator[Step]:
        """The system flags of a PUSHF come back; of a value that is not known nothing is."""
        course, at = self.course, self.course.now.rsp
        value = yield from course.pop(one, course.pushed_bytes(one))
        flags = course.pushed_flags.get(at) if value is None else value
        # The trap flag of an unknown value stands for all: the way ends.
        course.now = replace(course.now, rflags=_TRAP if flags is None else flags)

    # -- control transfers ---------------------------------------------------------------------

    def _branch(self, one: Any) -> Way:
        course = self.course
        yield from operand_steps(course, one)
        if one.mnemonic == "ljmp" and (far := self._far_target(one)) is not None:
            selector, offset = far
            return offset if (yield from segment_steps.enter(course, one, selector)) else None
        target = course.source(one)
        if target is None or one.mnemonic in ("ljmp", "lcall"):
            return course.ends(one)
        if one.mnemonic == "call":
            yield from course.push(one, one.address + one.size, course.word)
        return target

    def _far_target(self, one: Any) -> tuple[int, int] | None:
        """Selector and offset of a far jump, where they are known."""
        from capstone import x86

        course, first = self.course, one.operands[0]
        if first.type == x86.X86_OP_IMM and len(one.operands) == 2:
            return int(first.imm), int(one.operands[1].imm) & course.mask
        at = decode.address(one, first, course.known) if first.type == x86.X86_OP_MEM else None
        if at is None:
            return None
        width = far_bytes(one)
        offset = course.memory.load(at & course.mask, width)
        selector = course.memory.load((at & course.mask) + width, 2)
        return None if offset is None or selector is None else (selector, offset)

    def _return(self, one: Any) -> Way:
        course = self.course
        if one.mnemonic == "ret":
            target = yield from course.pop(one, course.word)
            if target is None:
                return course.ends(one)
            if one.operands:
                course.move_stack(course.now.rsp + one.operands[0].imm)
            return target
        width = _FAR_RETURNS.get(one.mnemonic)
        if width is None:
            return course.ends(one)
        is_interrupt = one.mnemonic.startswith("iret")
        moves_stack = is_interrupt and course.bits == 64
        top, words = course.now.rsp, []
        count = 5 if moves_stack else 3 if is_interrupt else 2
        for place in range(count):
            words.append((yield from course.peek(one, top + place * width, width)))
        after = top + count * width
        target, selector = words[:2]
        if target is None or selector is None or selector & _RPL:
            return course.ends(one)
        if not (yield from segment_steps.enter(course, one, selector & 0xFFFF)):
            return None
        if moves_stack:
            stack, segment = words[3:]
            if stack is None or segment is None or course.bits != 64:
                return course.ends(one)
            if not (yield from segment_steps.load(course, one, STACK, segment & 0xFFFF, True)):
                return None
            after = stack
        elif one.operands:
            after += one.operands[0].imm
        course.move_stack(after)
        return target


def _destination(one: Any) -> str | None:
    """The first operand, if it is a register."""
    from capstone import x86

    first = one.operands[0] if one.operands else None
    is_register = first is not None and first.type == x86.X86_OP_REG
    return str(one.reg_name(first.reg)) if first is not None and is_register else None


def _has_state(one: Any) -> bool:
    """Fences and hints are SSE by name alone."""
    groups = [one.group_name(group) for group in one.groups]
    return "mm" in one.op_str or not any(name.startswith(("sse", "ssse")) for name in groups)
