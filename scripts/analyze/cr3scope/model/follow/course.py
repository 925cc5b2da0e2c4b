"""Where code that is only looked at has come to: registers, memory and stack as they will be there."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from cr3scope.message import Hex, Message, message
from cr3scope.model.follow.segment_load import Refused
from cr3scope.model.role import Role
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.decode.expected_memory import ExpectedMemory, Read
from cr3scope.x86.decode.instruction import OPERAND_SIZE
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.decode.operands import operand_value
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MASK64


@dataclass(frozen=True, slots=True)
class Step:
    """One access to come. ``registers`` are those at the instruction that makes it.

    ``by`` is the instruction that leads to it: of a jump's target the jump. ``done``: how many
    instructions come before that one. ``extent``: all bytes from ``virt`` on that a repeated instruction
    touches in that page; ``width`` is one element's.
    """

    role: Role
    virt: int
    kind: AccessKind
    width: int
    registers: Registers
    by: int
    done: int = 0
    extent: int = 0


@dataclass(frozen=True, slots=True)
class OwnException:
    """The exception that the way's last instruction raises by itself, whatever the tables say.

    ``instruction`` as an assembler writes it, ``registers`` those at it.
    """

    refused: Refused
    instruction: str
    registers: Registers


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
        self, read: Read, general: Mapping[str, int], registers: Registers, bits: int, platform: Platform
    ) -> None:
        self.memory = ExpectedMemory(read)
        self.known = KnownRegisters(general)
        self.known.set("rsp", registers.rsp)
        self.now = registers
        self.bits, self.platform = bits, platform
        self.count = 0  # of the instructions that were followed
        self.wrote_stack = False
        self.pushed_flags: dict[int, int] = {}  # by the place where PUSHF put them
        self.end, self.why = Message("no more are followed"), Why.UNTOLD
        self.stop: OwnException | None = None

    @property
    def mask(self) -> int:
        """Return the mask of an address in this mode: 64 bits or 32."""
        return MASK64 if self.bits == 64 else (1 << 32) - 1

    @property
    def word(self) -> int:
        """Return how many bytes a push moves."""
        return self.bits // 8

    def step(self, role: Role, virt: int, kind: AccessKind, width: int, by: int) -> Step:
        """Return an access as a step, with the registers as they are now."""
        done = self.count - (by != self.now.rip)  # a jump's target is fetched once the jump is done
        return Step(role, virt & MASK64, kind, width, self.now, by, max(done, 0))

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
        return operand_value(one, one.operands[-1], self.known, self.memory, self.mask)

    # -- the stack -----------------------------------------------------------------------------

    def push(self, one: Any, value: int | None, width: int) -> Iterator[Step]:
        """Yield the write of a push, and move RSP once it is done."""
        at = self.now.rsp - width & self.mask
        yield self.step(Role.STACK_WRITE, at, AccessKind.WRITE, width, one.address)
        self.wrote_stack = True
        self.memory.store(at, width, value)
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
        yield self.step(Role.STACK_READ, at & self.mask, AccessKind.READ, width, one.address)
        return self.memory.load(at & self.mask, width)

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
            self.memory.store(place, width, value)
        self.now = after

    def move_stack(self, rsp: int) -> None:
        """Set RSP, cut to the width of an address."""
        self.known.set("rsp", rsp & self.mask)
        self.now = replace(self.now, rsp=rsp & self.mask)

    def pushed_bytes(self, one: Any) -> int:
        """Return how many bytes a push or a pop moves: two with an operand-size prefix."""
        return 2 if OPERAND_SIZE in one.prefix else self.word
