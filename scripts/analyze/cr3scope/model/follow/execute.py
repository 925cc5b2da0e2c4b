"""One instruction, looked at and not run: its accesses, and what it leaves in registers and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from cr3scope.message import Message, message
from cr3scope.model.control_change import EFER, control_change
from cr3scope.model.follow import segment_steps, transfers
from cr3scope.model.follow.course import Course, Step, Way
from cr3scope.model.follow.data_steps import operand_steps, repeated
from cr3scope.model.follow.segment_load import Refused
from cr3scope.x86.cpu_state import CR0_PG, RFLAGS_IF, CpuState
from cr3scope.x86.decode.flags import counts_down, flags_after, is_taken
from cr3scope.x86.decode.instruction import written
from cr3scope.x86.decode.known_registers import is_part_of
from cr3scope.x86.decode.missing_state import missing_state
from cr3scope.x86.decode.operands import quotient_fits, result
from cr3scope.x86.decode.privileged import May, may_execute
from cr3scope.x86.exceptions import DIVIDE, PROTECTION, UNDEFINED
from cr3scope.x86.registers import RFLAGS_DIRECTION, RFLAGS_IOPL, RFLAGS_TRAP

_BASES = {0xC0000100: "fs_base", 0xC0000101: "gs_base"}  # MSRs
_ENDS = frozenset({"hlt", "mwait", "int3", "int", "int1", "into", "bound", "syscall", "sysret", "sysenter",
                   "sysexit", "rsm", "vmlaunch"})
_COUNTED = ("loop", "jrcxz", "jecxz", "jcxz")
_PUSHED_FLAGS, _POPPED_FLAGS = ("pushf", "pushfd", "pushfq"), ("popf", "popfd", "popfq")


def execute(course: Course, one: Any, cpu: CpuState | None) -> Way:
    """Yield the accesses of one instruction; return where the code goes on, None at the end.

    ``cpu`` tells which instructions are turned on; without it all are.
    """
    groups = {one.group_name(group) for group in one.groups}
    name: str = one.mnemonic
    refused = _refused(one, cpu)
    if refused is not None:
        course.stops(one, refused)
        return None
    may = may_execute(one, course.now, cpu.cr4 if cpu is not None else None, course.platform)
    if may is May.NO:
        course.stops(one, Refused(PROTECTION, 0, message("it is privileged, and the CPL is {cpl}", cpl=course.now.cpl)))
        return None
    if name in _ENDS or may is May.UNTOLD:
        return course.ends(one)
    if name.startswith(_COUNTED) or "jump" in groups and name not in ("jmp", "ljmp"):
        return _conditional(course, one)
    course.flags = flags_after(one, course.flags, partial(course.value, one=one))
    if name.startswith("maskmov"):  # what it writes depends on its data
        return course.ends(one)
    if name in ("mov", "lmsw", "wrmsr"):
        following = _control(course, one)
        if following is not None or course.stop is not None:
            return following
    if name == "wrmsr" and course.known.get("ecx") in (None, EFER):
        return course.ends(one)
    if "ret" in groups or "iret" in groups:
        return (yield from transfers.back(course, one))
    if "jump" in groups or "call" in groups:
        return (yield from transfers.branch(course, one))
    if name.startswith("rep"):
        return (yield from repeated(course, one))
    return (yield from _plain(course, one))


def _conditional(course: Course, one: Any) -> int | None:
    """Where a conditional jump goes; None, and the end, if that is not known."""
    taken = is_taken(one, course.flags, course.known) if course.decides else None
    counter = counts_down(one)
    if taken is None:
        return course.ends(one)
    count = None if counter is None else course.known.get(counter)
    if counter is not None and count is not None:
        course.known.set(counter, count - 1)
    return int(one.operands[0].imm) if taken else int(one.address + one.size)


def _control(course: Course, one: Any) -> int | None:
    """The next instruction's address, where this one changes control registers while paging is off; the mov that turns it
    on, where the course has a space to go on in."""
    cpu, space = course.cpu, course.space
    if cpu is None or cpu.cr0 & CR0_PG:
        return None
    change = control_change(one, course.known.get, cpu, space.tables if space else None, course.platform)
    if change is None or space is None and (change.refused is not None or change.cpu.cr0 & CR0_PG):
        return None
    if change.refused is not None:
        course.stops(one, change.refused)
        return None
    course.turn(change.cpu)
    following: int = one.address + one.size
    return following


def _refused(one: Any, cpu: CpuState | None) -> Refused | None:
    """By what it is, or by registers; memory comes later."""
    if one.mnemonic in ("ud0", "ud1", "ud2"):
        return Refused(UNDEFINED, None, Message("the program gives up by itself"))
    off = missing_state(one, cpu) if cpu is not None and _has_state(one) else None
    return Refused(UNDEFINED, None, message("it needs {needed}", needed=off)) if off else None


def _plain(course: Course, one: Any) -> Way:
    """What is no control transfer."""
    known = course.known
    name: str = one.mnemonic
    writes = written(one)
    if name == "lmsw" or name == "mov" and writes & {"cr0", "cr3", "cr4"}:
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
            why = Message("the divisor is 0, or the quotient too large")
            course.stops(one, Refused(DIVIDE, None, why))
        if not fits:
            return None if course.stop else course.ends(one)
    segment = segment_steps.loaded(course, one, destination)
    if segment is not None and not (yield from segment_steps.load(course, one, *segment)):
        return None
    source, value, frame = course.source(one), result(one, known, course.source), known.get("rbp")
    on_stack = {register for register in writes if is_part_of(register, "rsp")}
    efer = _read_efer(course) if name == "rdmsr" else None
    for register in writes - on_stack:
        known.set(register, None)
    if efer is not None:
        known.set("eax", efer)
        known.set("edx", 0)
    _bases(course, one, name)
    if name == "push":
        yield from course.push(one, source, course.pushed_bytes(one))
    elif name in _PUSHED_FLAGS:
        yield from course.push(one, None, course.pushed_bytes(one))
        course.pushed_flags[course.in_segment("ss", course.now.rsp)] = course.now.rflags
    elif name in _POPPED_FLAGS:
        yield from _pop_flags(course, one)
        if course.now.rflags & RFLAGS_TRAP:
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
        course.loses_stack = True
        return course.ends(one)
    elif name in ("lgdt", "lidt"):
        segment_steps.load_table(course, one)
    elif name in ("std", "cld"):
        flags = course.now.rflags & ~RFLAGS_DIRECTION
        course.now = replace(course.now, rflags=flags | RFLAGS_DIRECTION * (name == "std"))
    if destination in on_stack and name != "push" and value is None:
        course.loses_stack = True
        return course.ends(one)
    if destination is not None and value is not None:
        known.set(destination, value)
        if destination in on_stack:
            course.move_stack(known.get("rsp") or 0)
    following: int = one.address + one.size
    return following


def _read_efer(course: Course) -> int | None:
    """EFER, if RDMSR reads it and it is known."""
    return course.cpu.efer if course.cpu is not None and course.known.get("ecx") == EFER else None


def _bases(course: Course, one: Any, name: str) -> None:
    """FS and GS bases that are known no more."""
    known = course.known
    loaded = {"fs": "fs_base", "gs": "gs_base"}.get(_destination(one) or "")
    if course.bits != 64 and name != "wrmsr":
        return  # the descriptor tells
    if loaded and name in ("mov", "pop"):
        known.set(loaded, None)
    elif name in ("lfs", "wrfsbase"):
        known.set("fs_base", None)
    elif name in ("lgs", "wrgsbase", "swapgs"):
        known.set("gs_base", None)
    elif name == "wrmsr" and (base := _BASES.get(known.get("ecx") or 0)) is not None:
        known.set(base, None)


def _pop_flags(course: Course, one: Any) -> Iterator[Step]:
    """The system flags of a PUSHF come back, but IOPL and IF as far as the CPL lets them; of a value that is not known nothing is."""
    at = course.in_segment("ss", course.now.rsp)
    value = yield from course.pop(one, course.pushed_bytes(one))
    flags = course.pushed_flags.get(at) if value is None else value
    now, kept = course.now, 0
    if now.cpl:  # SDM 2B, POPF, table 4-16
        kept = RFLAGS_IOPL | (0 if now.does_io else RFLAGS_IF)
    # The trap flag of an unknown value stands for all: the way ends.
    course.now = replace(now, rflags=RFLAGS_TRAP if flags is None else flags & ~kept | now.rflags & kept)


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
