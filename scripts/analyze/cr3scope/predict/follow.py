"""Follows code without running it: the accesses that it is about to make, as far as they can be told.

Only what is certain is claimed. A register is known or unknown; an instruction that is not understood
makes unknown what it writes; a branch that hangs on flags ends the way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cr3scope.capture.records import AccessKind
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.predict import decode
from cr3scope.predict.delivery import Registers
from cr3scope.predict.known_registers import KnownRegisters

Read = Callable[[int, int], bytes | None]

MOST_INSTRUCTIONS = 64
_QWORD = 8
_MASK = (1 << 64) - 1
_PSEUDO_DESCRIPTOR = 10  # bytes that LGDT and LIDT read in 64-bit mode
# Instructions whose memory operand is not accessed, or not as data.
_NO_ACCESS = ("lea", "nop", "prefetch", "invlpg", "clflush", "endbr")
_ENDS = frozenset({"hlt", "ud2", "int3", "int", "int1", "syscall", "sysret", "sysexit", "wrmsr", "vmlaunch"})


@dataclass(frozen=True, slots=True)
class Step:
    """One access to come. ``registers`` are those at the instruction that makes it.

    ``by`` is the instruction that leads to it: of a jump's target the jump.
    """

    name: str
    virt: int
    kind: AccessKind
    width: int
    registers: Registers
    by: int


@dataclass(frozen=True, slots=True)
class Path:
    """The accesses in their order, and why there are no further ones.

    ``at_entry``: the general registers when the entry is reached, None each if not known.
    """

    steps: tuple[Step, ...]
    end: str
    at_entry: Mapping[str, int | None]


def follow(read: Read, general: Mapping[str, int], registers: Registers) -> Path:
    """The way from ``registers.rip`` on.

    ``read`` gives bytes of memory as they will be (virtual address, count), fewer at the end of what is
    mapped, None for none; ``general`` are the general registers by lower-case name.
    """
    follower = _Follower(read, general, registers)
    return Path(tuple(follower.steps()), follower.end, follower.at_entry)


# Accesses, and in the end an address or a value, where it is known.
_Way = Generator[Step, None, int | None]


class _Follower:
    def __init__(self, read: Read, general: Mapping[str, int], registers: Registers) -> None:
        self._read = read
        self._known = KnownRegisters(general)
        self._known.set("rsp", registers.rsp)
        self._now = registers
        self._stored: dict[int, int | None] = {}  # what was pushed on the way
        self._wrote_stack = False
        self._entered = False
        self.end = f"{MOST_INSTRUCTIONS} instructions were followed"
        self.at_entry: Mapping[str, int | None] = {}

    def steps(self) -> Iterator[Step]:
        """All accesses; ``end`` is set afterwards."""
        start = self._now.rip
        yield self._step("next fetch", start, AccessKind.FETCH, 1, start)
        page = start & -PAGE_BYTES
        for _ in range(MOST_INSTRUCTIONS):
            at = self._now.rip
            one = self._decode(at)
            if one is None:
                break
            last = at + one.size - 1
            if last & -PAGE_BYTES != page:
                page = last & -PAGE_BYTES
                yield self._step("fetch", page, AccessKind.FETCH, 1, at)
            target = yield from self._execute(one)
            if target is None:
                break
            is_jump = target != at + one.size
            self._now = replace(self._now, rip=target)
            if target & -PAGE_BYTES != page:
                page = target & -PAGE_BYTES
                name = "fetch"
                if is_jump and not self._entered:
                    name, self._entered, self.at_entry = "entry", True, self._known.all()
                yield self._step(name, target, AccessKind.FETCH, 1, at)
        if not self._wrote_stack:
            # An interrupt, a call, a push: some write to the stack always follows.
            yield self._step("stack write", self._rsp - _QWORD, AccessKind.WRITE, _QWORD, self._now.rip)

    @property
    def _rsp(self) -> int:
        return self._now.rsp

    def _step(self, name: str, virt: int, kind: AccessKind, width: int, by: int) -> Step:
        return Step(name, virt & _MASK, kind, width, self._now, by)

    def _decode(self, at: int) -> Any:
        code = self._read(at, decode.LONGEST)
        if not code:
            self.end = f"the code at {at:#x} cannot be read"
            return None
        one = decode.decode(code, at)
        if one is None:
            self.end = f"the bytes at {at:#x} are no instruction: {code[:8].hex(' ')}"
        return one

    def _execute(self, one: Any) -> _Way:
        """The accesses of one instruction; returns where it goes on, None at the end."""
        from capstone import x86

        groups = {one.group_name(group) for group in one.groups}
        name: str = one.mnemonic
        following: int = one.address + one.size
        if name in _ENDS or name.startswith(("loop", "jrcxz", "jecxz")):
            return self._ends(one)
        if "ret" in groups or "iret" in groups:
            return (yield from self._return(one))
        if "jump" in groups or "call" in groups:
            if "jump" in groups and name not in ("jmp", "ljmp"):
                return self._ends(one)
            return (yield from self._branch(one))
        writes = {one.reg_name(register) for register in one.regs_access()[1]}
        if name == "mov" and writes & {"cr0", "cr3", "cr4"}:
            return self._ends(one)
        is_repeated = one.prefix[0] in (x86.X86_PREFIX_REP, x86.X86_PREFIX_REPNE)
        if not is_repeated or self._known.get("rcx"):
            yield from self._operands(one)
        source, value = self._source(one), self._result(one)
        for register in writes - {"rsp"}:
            self._known.set(register, None)
        if name.startswith("push"):
            yield from self._push(one, source)
        elif name.startswith("pop"):
            value = yield from self._pop(one)
        elif name == "leave" and (frame := self._known.get("rbp")) is not None:
            self._move_stack(frame)
            self._known.set("rbp", (yield from self._pop(one)))
        elif "rsp" in writes:
            if value is None:
                return self._ends(one)
            self._move_stack(value)
        elif name in ("lgdt", "lidt"):
            self._load_table(one)
        if value is not None and one.operands and one.operands[0].type == x86.X86_OP_REG:
            self._known.set(one.reg_name(one.operands[0].reg), value)
        return following

    def _ends(self, one: Any) -> int | None:
        self.end = f"not followed further: {_words(one)}"
        return None

    # -- control transfers ---------------------------------------------------------------------

    def _branch(self, one: Any) -> _Way:
        yield from self._operands(one)
        target = self._source(one)
        if target is None or one.mnemonic in ("ljmp", "lcall"):
            return self._ends(one)
        if one.mnemonic == "call":
            yield from self._push(one, one.address + one.size)
        return target

    def _return(self, one: Any) -> _Way:
        count = {"ret": 1, "retf": 2, "retfq": 2, "iretq": 5}.get(one.mnemonic)
        if count is None:
            return self._ends(one)
        words: list[int | None] = []
        for _ in range(count):
            words.append((yield from self._pop(one)))
        target = words[0]
        if target is None:
            return self._ends(one)
        if count > 1 and words[1] is not None:
            self._now = replace(self._now, cs=words[1] & 0xFFFF)
        if count > 3 and words[3] is not None:
            self._move_stack(words[3])
        if one.operands:
            self._move_stack(self._rsp + one.operands[0].imm)
        return target

    # -- the stack -----------------------------------------------------------------------------

    def _push(self, one: Any, value: int | None) -> Iterator[Step]:
        at = self._rsp - _QWORD & _MASK
        yield self._step("stack write", at, AccessKind.WRITE, _QWORD, one.address)
        self._wrote_stack = True
        self._stored[at] = value
        self._move_stack(at)

    def _pop(self, one: Any) -> _Way:
        at = self._rsp
        yield self._step("stack read", at, AccessKind.READ, _QWORD, one.address)
        self._move_stack(at + _QWORD)
        return self._load(at, _QWORD)

    def _move_stack(self, rsp: int) -> None:
        self._known.set("rsp", rsp & _MASK)
        self._now = replace(self._now, rsp=rsp & _MASK)

    # -- operands ------------------------------------------------------------------------------

    def _operands(self, one: Any) -> Iterator[Step]:
        """The accesses of the memory operands whose addresses are known."""
        from capstone import CS_AC_READ, CS_AC_WRITE, x86

        if one.mnemonic.startswith(_NO_ACCESS):
            return
        for operand in one.operands:
            if operand.type != x86.X86_OP_MEM:
                continue
            at = decode.address(one, operand, self._known)
            if at is None:
                continue
            for bit, name, kind in (
                (CS_AC_READ, "read", AccessKind.READ),
                (CS_AC_WRITE, "write", AccessKind.WRITE),
            ):
                if operand.access & bit:
                    yield self._step(name, at, kind, operand.size, one.address)
            if operand.access & CS_AC_WRITE:
                is_copy = one.mnemonic == "mov" and operand.size == _QWORD
                self._stored[at] = self._source(one) if is_copy else None

    def _source(self, one: Any) -> int | None:
        """The value of the last operand: what is moved, pushed or jumped to."""
        from capstone import x86

        if not one.operands:
            return None
        operand = one.operands[-1]
        if operand.type == x86.X86_OP_IMM:
            return int(operand.imm) & _MASK
        if operand.type == x86.X86_OP_REG:
            return self._known.get(one.reg_name(operand.reg))
        at = decode.address(one, operand, self._known)
        return None if at is None else self._load(at, operand.size)

    def _result(self, one: Any) -> int | None:
        """What the first operand, a register, holds afterwards; None if that is not known."""
        from capstone import x86

        operands = one.operands
        if len(operands) != 2 or operands[0].type != x86.X86_OP_REG:
            return None
        first = one.reg_name(operands[0].reg)
        if one.mnemonic in ("mov", "movabs"):
            return self._source(one)
        if one.mnemonic == "lea":
            return decode.address(one, operands[1], self._known)
        if one.mnemonic in ("xor", "sub") and operands[1].type == x86.X86_OP_REG:
            return 0 if operands[0].reg == operands[1].reg else None
        before, other = self._known.get(first), self._source(one)
        if before is None or other is None or operands[0].size != _QWORD:
            return None
        if one.mnemonic == "add":
            return before + other & _MASK
        if one.mnemonic == "sub":
            return before - other & _MASK
        return before & other if one.mnemonic == "and" else None

    def _load(self, at: int, width: int) -> int | None:
        if at in self._stored:
            return self._stored[at] if width == _QWORD else None
        if any(at - _QWORD < one < at + width for one in self._stored):
            return None
        data = self._read(at, width)
        return int.from_bytes(data, "little") if data and len(data) == width else None

    def _load_table(self, one: Any) -> None:
        at = decode.address(one, one.operands[0], self._known)
        data = self._read(at, _PSEUDO_DESCRIPTOR) if at is not None else None
        if not data or len(data) < _PSEUDO_DESCRIPTOR:
            return
        limit, base = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:], "little")
        if one.mnemonic == "lidt":
            self._now = replace(self._now, idt_base=base, idt_limit=limit)
        else:
            self._now = replace(self._now, gdt_base=base, gdt_limit=limit)


def _words(one: Any) -> str:
    return f"{decode.text(one)} at {one.address:#x}"
