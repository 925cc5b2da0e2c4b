"""The exception machine: what becomes of a fault, through double fault to reset, storm or handler.

Intel SDM volume 3A, 7.15 (interrupt 8): which exceptions, raised while another is delivered, make a
double fault; a third exception then shuts the CPU down.
"""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.model.delivered import Entered, Raised, Unknown
from cr3scope.model.delivery import Delivery
from cr3scope.model.storm import Vital, run_out
from cr3scope.model.strike import Target
from cr3scope.paging.walk import Translation
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import PAGE_FRAME, PAGE_OFFSET
from cr3scope.x86.registers import Registers

# A chain that has not repeated itself by then is given up; each round enters one more handler.
_MAX_ROUNDS = 32
_OUT_OF_REACH = "{touching} is out of reach: {raises}"
_TO_DOUBLE_FAULT = "{touching} is out of reach: {raises}: double fault"
_OUT_OF_REACH_TOO = "{touching} is out of reach too: {raises}: triple fault, the CPU resets"


@dataclass(frozen=True, slots=True)
class Chain:
    """What follows a first exception. ``ends`` is None where nothing tells.

    ``words``: what is to be said of each exception, in order. ``faults`` are the exceptions on the way, each with
    what the CPU was reaching for.
    """

    ends: Ending | None
    words: tuple[Message, ...]
    faults: tuple[Raised, ...] = ()
    handler: int | None = None  # the one that runs
    vectors: tuple[int, ...] = ()  # of the exceptions whose handlers are entered, in order

    @property
    def is_straight(self) -> bool:
        """Return whether the handler of the very exception runs; also where nothing tells otherwise."""
        return not self.faults and self.ends in (Ending.HANDLED, None)

    @property
    def enters(self) -> bool:
        """Return whether some handler is entered, even if it cannot be fetched then."""
        return bool(self.vectors)


def carry(
    delivery: Delivery, vector: int, registers: Registers, software: bool = False
) -> Chain:
    """Follow exception ``vector``, raised with these registers, to its end.

    ``software``: it is the interrupt of an INT instruction.
    """
    words: list[Message] = []
    faults: list[Raised] = []
    seen: dict[tuple[int, int], int] = {}  # (vector, handler) -> RSP at its entry
    vectors: list[int] = []

    def chain(ends: Ending | None, handler: int | None = None, said: tuple[Message, ...] = ()) -> Chain:
        return Chain(ends, (*words, *said), tuple(faults), handler, tuple(vectors))

    for frames in range(1, _MAX_ROUNDS):
        entered = _enter(delivery, vector, registers, software, words, faults)
        software = False
        if not isinstance(entered, tuple):
            return chain(entered)
        vector, frame = entered
        vectors.append(vector)
        registers = delivery.entered(registers, frame)
        delivery = delivery.after(frame)
        fault = delivery.fetch(registers.pc)
        entered_at = {"exception": Vector(vector), "handler": Hex(registers.pc)}
        if fault is None:
            words.append(message("the handler of {exception} at {handler} runs", **entered_at))
            return chain(Ending.HANDLED, registers.pc)
        key = (vector, frame.handler)
        if key in seen:
            ends, said = _storm(delivery, registers, frames, seen[key] == frame.rsp)
            return chain(ends, said=(said,))
        seen[key] = frame.rsp
        what = message("the handler of {exception} at {handler}", **entered_at)
        raised = Raised(
            fault.vector, fault.error_code, fault.cr2, what, fault, Target.HANDLER, AccessKind.FETCH
        )
        faults.append(raised)
        words.append(_said("{touching} cannot be fetched: {raises}", raised, registers.mode))
        vector = fault.vector
    return chain(None)


def _enter(
    delivery: Delivery,
    vector: int,
    registers: Registers,
    software: bool,
    words: list[Message],
    faults: list[Raised],
) -> tuple[int, Entered] | Ending | None:
    """Delivers ``vector`` or what it turns into; an Ending if the CPU shuts down, None if unknown."""
    while True:
        outcome = delivery.deliver(vector, registers, software)
        if isinstance(outcome, Entered):
            return vector, outcome
        if isinstance(outcome, Unknown):
            words.append(_unknown(delivery, outcome))
            return None
        faults.append(outcome)
        if vector == exceptions.DOUBLE_FAULT and not software:
            words.append(_said(_OUT_OF_REACH_TOO, outcome, registers.mode))
            return Ending.TRIPLE_FAULT
        # An INT instruction is benign, whatever its vector (SDM 3A, table 7-4).
        if not software and exceptions.makes_double_fault(vector, outcome.vector):
            words.append(_said(_TO_DOUBLE_FAULT, outcome, registers.mode))
            vector = exceptions.DOUBLE_FAULT
        else:
            words.append(_said(_OUT_OF_REACH, outcome, registers.mode))
            vector = outcome.vector
        software = False


def _said(template: str, raised: Raised, mode: CpuMode) -> Message:
    is_fetch, in_long_mode = raised.kind is AccessKind.FETCH and raised.fault is not None, mode is CpuMode.LONG
    fault = Fault(raised.vector, raised.error_code, raised.cr2, None, is_fetch=is_fetch, in_long_mode=in_long_mode)
    return message(template, touching=raised.touching, raises=fault)


def _unknown(delivery: Delivery, outcome: Unknown) -> Message:
    if not outcome.is_modelled:
        return message("not followed: {missing}", missing=outcome.what)
    if delivery.memory.is_recorded:
        return message("the capture does not hold {missing}", missing=outcome.what)
    return message("memory cannot be read: {missing}", missing=outcome.what)


def _storm(
    delivery: Delivery, registers: Registers, frames: int, same_stack: bool
) -> tuple[Ending, Message]:
    """How a repeating fault ends, and what is to be said of it; ``frames`` were pushed so far."""
    if same_stack:
        return Ending.STORM, Message("the same fault again, on the same IST stack, without end")
    end = run_out(delivery, registers, list(_vital(delivery, registers)))
    if end is None:
        return Ending.STORM, Message("the same fault again, a frame lower each time, for a long while")
    total = frames + end.frames
    words = message(
        "the same fault again, a frame lower each time: after about {frames:,} frames the stack meets {what} at {virt},"
        " and the CPU resets", frames=total, what=end.what, virt=Hex(end.virt),
    )  # fmt: skip
    # A row too short for the log's reader to call it a storm is a triple fault with a prelude.
    return Ending.STORM if total >= exceptions.STORM_RUN else Ending.TRIPLE_FAULT, words


def _vital(delivery: Delivery, registers: Registers) -> Iterator[Vital]:
    """What delivery reads: the descriptor tables, and the page tables that lead there."""
    for base, limit, what in (
        (registers.gdt_base, registers.gdt_limit, Message("the GDT")),
        (registers.idt_base, registers.idt_limit, Message("the IDT")),
    ):
        found = delivery.reach(base, AccessKind.READ)
        if isinstance(found, Translation):
            yield Vital(found.phys, found.phys + limit, what)
            for entry in found.entries:
                page = entry.phys & PAGE_FRAME
                yield Vital(page, page + PAGE_OFFSET, message("a page table that leads to {table}", table=what))
