"""Where code that is only looked at has come to: registers, memory and stack as they will be there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.model.control_change import CONTROL, REGISTER
from cr3scope.model.follow.segment_load import Refused
from cr3scope.model.role import Role
from cr3scope.paging.tables import Tables
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import cpu_mode
from cr3scope.x86.cpu_state import CR0_PG, CpuState
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.expected_memory import ExpectedMemory, Read
from cr3scope.x86.decode.flags import UNKNOWN
from cr3scope.x86.decode.instruction import OPERAND_SIZE
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.decode.operands import operand_value
from cr3scope.x86.exceptions import PROTECTION, STACK_FAULT
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import Segment
from cr3scope.x86.word import MASK32, MASK64


_SEGMENTS = ("ds", "es", "ss")


@dataclass(frozen=True, slots=True)
class Step:
    """One access to come. ``registers`` are those at the instruction that makes it.

    ``by`` is the instruction that leads to it: of a jump's target the jump. ``done``: how many
    instructions come before that one. ``extent``: all bytes from ``virt`` on that a repeated instruction
    touches in that page; ``width`` is one element's. ``cpu``: the control registers of then, where the way has turned
    paging on.
    """

    role: Role
    virt: int
    kind: AccessKind
    width: int
    registers: Registers
    by: int
    done: int = 0
    extent: int = 0
    cpu: CpuState | None = None


@dataclass(frozen=True, slots=True)
class OwnException:
    """The exception that the way's last instruction raises by itself, whatever the tables say.

    ``instruction`` as an assembler writes it, ``registers`` those at it.
    """

    refused: Refused
    instruction: str
    registers: Registers


@dataclass(frozen=True, slots=True)
class Space:
    """What a way that turns paging on needs: memory to load tables from, and bytes of code and of data as other control
    registers show them."""

    tables: Tables
    code: Callable[[CpuState], Read]
    data: Callable[[CpuState], Read]


class Why(Enum):
    """Why the way is followed no further."""

    UNTOLD = "what comes next depends on what is not known"
    REFUSED = "the instruction raises an exception"
    LOOP = "a jump to itself"
    HALT = "hlt, or mwait"
    BREAKPOINT = "int3"
    NO_INSTRUCTION = "bytes that are none"


# Accesses, and in the end an address or a value, where it is known.
Way = Generator[Step, None, int | None]


class Course:
    """The state on the way. ``end`` says why it ends, ``stop`` if by an exception of its own."""

    def __init__(
        self, read: Read, general: Mapping[str, int], registers: Registers, bits: int, platform: Platform,
        cpu: CpuState | None = None, space: Space | None = None, data: Read | None = None,
    ) -> None:
        self.memory = ExpectedMemory(read, data)
        flat = {f"{name}_base": 0 for name in ("cs", "ds", "es", "ss")}
        self.known = KnownRegisters(flat | dict(general))
        self.known.set("rsp", registers.rsp)
        self.now = registers
        self.bits, self.platform = bits, platform
        self.cpu = cpu  # control registers on the way; None if nobody knows them
        self.space = space
        self.has_turned = False  # paging is on, and was not at first
        self.loses_stack = False  # the way ends at an instruction that moves RSP to nobody knows where
        self.loads: set[str] = set()  # "gdt", "idt": what LGDT and LIDT have loaded on the way
        self.count = 0  # of the instructions that were followed
        self.wrote_stack = False
        self.pushed_flags: dict[int, int] = {}  # by the linear address at which PUSHF put them, until they are overwritten
        self.end, self.why = Message("no more are followed"), Why.UNTOLD
        self.stop: OwnException | None = None
        self.flags, self.decides = UNKNOWN, True  # the arithmetic ones, and whether conditional jumps are followed by them

    @property
    def mask(self) -> int:
        """Return the mask of a linear address in this mode: 64 bits or 32."""
        return MASK64 if self.bits == 64 else MASK32

    @property
    def code_mask(self) -> int:
        """Return the mask of an offset in the code segment."""
        return 0xFFFF if self.bits == 16 else self.mask

    @property
    def pc(self) -> int:
        """Return the linear address of the next instruction."""
        return self.in_segment("cs", self.now.rip)

    def in_segment(self, segment: str, offset: int) -> int:
        """Return the linear address of an offset in CS or SS."""
        base = 0 if self.bits == 64 else self.known.get(f"{segment}_base") or 0
        return base + offset & self.mask

    @property
    def stack_mask(self) -> int:
        """Return the mask of the stack pointer: 16 bits where SS is a small segment (SDM 3A, 3.4.5, B)."""
        if self.bits == 64:
            return MASK64
        stack = self.now.segments.get("ss")
        is_big = self.bits == 32 if stack is None else stack.is_big
        return MASK32 if is_big else 0xFFFF

    def exceeds(self, segment: str, offset: int, width: int) -> Refused | None:
        """Return the refusal of an access outside its segment (SDM 3A, 6.3); None where it lies within, or nobody asks."""
        found = self.now.segments.get(segment)
        if self.bits == 64 or found is None or self.platform.has(Quirk.NO_LIMITS) or found.holds(offset, width):
            return None
        words = message("offset {offset} lies outside {segment}, whose limit is {limit}",
                        offset=Hex(offset), segment=segment.upper(), limit=Hex(found.limit))  # fmt: skip
        return Refused(STACK_FAULT if segment == "ss" else PROTECTION, 0, words)

    @property
    def word(self) -> int:
        """Return how many bytes a push moves."""
        return self.bits // 8

    def step(self, role: Role, virt: int, kind: AccessKind, width: int, by: int) -> Step:
        """Return an access as a step, with the registers as they are now."""
        done = self.count - (by != self.now.rip)  # a jump's target is fetched once the jump is done
        return Step(role, virt & MASK64, kind, width, self.now, by, max(done, 0), cpu=self.cpu if self.has_turned else None)

    def turn(self, cpu: CpuState) -> None:
        """Set other control registers; where they turn paging on, memory is read through the tables from then on."""
        if self.space is not None and cpu.cr0 & CR0_PG:
            self.memory.read, self.memory.data = self.space.code(cpu), self.space.data(cpu)
            self.has_turned = True
        self.cpu = cpu
        self.now = replace(self.now, mode=cpu_mode(cpu.cr0, cpu.efer))

    def ends(self, one: Any) -> int | None:
        """End the course at an instruction whose outcome cannot be told; return None, since no address follows.
        """
        self.why = {"hlt": Why.HALT, "mwait": Why.HALT, "int3": Why.BREAKPOINT}.get(one.mnemonic, Why.UNTOLD)
        self.end = message(
            "not followed further: {instruction} at {rip}", instruction=decode.text(one), rip=Hex(one.address)
        )
        return None

    def stops(self, one: Any, refused: Refused) -> None:
        """Stop the course at an instruction that is refused."""
        instruction = decode.text(one)
        self.end = message("{instruction} at {rip} is refused", instruction=instruction, rip=Hex(one.address))
        self.why = Why.REFUSED
        self.stop = OwnException(refused, instruction, self.now)

    def source(self, one: Any) -> int | None:
        """Return the value of the last operand, what is moved, pushed or jumped to; None if it is not known."""
        if not one.operands:
            return None
        if len(one.operands) == 2 and one.mnemonic == "mov" and one.operands[1].type == REGISTER:
            name = one.reg_name(one.operands[1].reg)
            if name in CONTROL:
                return None if self.cpu is None else getattr(self.cpu, name)
            if name == "cs" or name in self.now.segments and name in _SEGMENTS:
                return self.now.cs if name == "cs" else self.now.segments[name].selector
        return operand_value(one, one.operands[-1], self.known, self.memory, self.mask)

    def value(self, operand: Any, one: Any) -> int | None:
        """Return what an operand of an instruction holds; None if it is not known."""
        return operand_value(one, operand, self.known, self.memory, self.mask)

    def store(self, place: int, width: int, value: int | None) -> None:
        """Remember what memory at a linear address holds now; None if that is not known."""
        self.memory.store(place, width, value)
        for at in [at for at in self.pushed_flags if at < place + width and place < at + self.word]:
            del self.pushed_flags[at]

    # -- the stack -----------------------------------------------------------------------------

    def push(self, one: Any, value: int | None, width: int) -> Iterator[Step]:
        """Yield the write of a push, and move RSP once it is done."""
        at = self.now.rsp - width & self.stack_mask
        refused = self.exceeds("ss", at, width)
        if refused is not None:
            self.stops(one, refused)
            return
        place = self.in_segment("ss", at)
        yield self.step(Role.STACK_WRITE, place, AccessKind.WRITE, width, one.address)
        self.wrote_stack = True
        self.store(place, width, value)
        self.move_stack(at)

    def pop(self, one: Any, width: int) -> Way:
        """Yield the read of a pop and move RSP; return the value, None if it is not known."""
        value = yield from self.peek(one, self.now.rsp, width)
        self.move_stack(self.now.rsp + width)
        return value

    def peek(self, one: Any, at: int, width: int) -> Way:
        """Yield a read of the stack that leaves RSP alone; return the value, None if it is not known.

        Where an instruction pops several words, the CPU moves RSP once all are read.
        """
        refused = self.exceeds("ss", at & self.stack_mask, width)
        if refused is not None:
            self.stops(one, refused)
            return None
        place = self.in_segment("ss", at & self.stack_mask)
        yield self.step(Role.STACK_READ, place, AccessKind.READ, width, one.address)
        return self.memory.load(place, width)

    def pop_to_memory(self, one: Any, width: int) -> Iterator[Step]:
        """Yield the accesses of a POP to memory, whose address counts from RSP as it is afterwards (SDM volume
        2B)."""
        before = self.now
        value = yield from self.pop(one, width)
        place = decode.address(one, one.operands[0], self.known)
        after, self.now = self.now, before  # a fault finds nothing popped
        if place is not None:
            place &= self.mask
            yield self.step(Role.WRITE, place, AccessKind.WRITE, width, one.address)
            self.store(place, width, value)
        self.now = after

    def move_stack(self, rsp: int) -> None:
        """Set RSP, cut to the width of an address."""
        mask = self.stack_mask
        rsp = self.now.rsp & ~mask & self.mask | rsp & mask
        self.known.set("rsp", rsp)
        self.now = replace(self.now, rsp=rsp)

    def pushed_bytes(self, one: Any) -> int:
        """Return how many bytes a push or a pop moves: the prefix makes two of eight or four, and four of two."""
        return self.word if self.bits == 64 and OPERAND_SIZE not in one.prefix else decode.operand_bytes(one)

    def load_segment(self, register: str, segment: Segment) -> None:
        """Remember what a segment register now holds."""
        self.now = replace(self.now, segments={**self.now.segments, register: segment})
        self.known.set(f"{register}_base", segment.base)
