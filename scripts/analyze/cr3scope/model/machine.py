"""The exception machine: what becomes of a fault, through double fault to reset, storm or handler.

Intel SDM volume 3A, 7.15 (interrupt 8): which exceptions, raised while another is delivered, make a
double fault; a third exception then shuts the CPU down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cr3scope.model.delivery import Delivery, Entered, Raised, Unknown
from cr3scope.model.storm import Vital, run_out
from cr3scope.model.strike import Target
from cr3scope.paging.walk import Translation
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import PAGE_FRAME, PAGE_OFFSET
from cr3scope.x86.registers import Registers

# A chain that has not repeated itself by then is given up; each round enters one more handler.
_MAX_ROUNDS = 32


@dataclass(frozen=True, slots=True)
class Chain:
    """What follows a first exception. ``ends`` is None where the capture does not say.

    ``faults`` are the exceptions on the way, each with what the CPU was reaching for.
    """

    ends: Ending | None
    words: tuple[str, ...]
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
    words: list[str] = []
    faults: list[Raised] = []
    seen: dict[tuple[int, int], int] = {}  # (vector, handler) -> RSP at its entry
    vectors: list[int] = []

    def chain(ends: Ending | None, handler: int | None = None, said: tuple[str, ...] = ()) -> Chain:
        return Chain(ends, (*words, *said), tuple(faults), handler, tuple(vectors))

    for frames in range(1, _MAX_ROUNDS):
        entered = _enter(delivery, vector, registers, software, words, faults)
        software = False
        if not isinstance(entered, tuple):
            return chain(entered)
        vector, frame = entered
        vectors.append(vector)
        registers = delivery.entered(registers, frame)
        fault = delivery.fetch(frame.handler)
        if fault is None:
            words.append(f"the handler of {exceptions.name(vector)} at {frame.handler:#x} runs")
            return chain(Ending.HANDLED, frame.handler)
        key = (vector, frame.handler)
        if key in seen:
            ends, said = _storm(delivery, registers, frames, seen[key] == frame.rsp)
            return chain(ends, said=(said,))
        seen[key] = frame.rsp
        what = f"the handler of {exceptions.name(vector)} at {frame.handler:#x}"
        raised = Raised(
            fault.vector, fault.error_code, fault.cr2, what, fault, Target.HANDLER, AccessKind.FETCH
        )
        faults.append(raised)
        words.append(_words(raised, "cannot be fetched"))
        vector = fault.vector
    return chain(None)


def _enter(
    delivery: Delivery,
    vector: int,
    registers: Registers,
    software: bool,
    words: list[str],
    faults: list[Raised],
) -> tuple[int, Entered] | Ending | None:
    """Delivers ``vector`` or what it turns into; an Ending if the CPU shuts down, None if unknown."""
    while True:
        outcome = delivery.deliver(vector, registers, software)
        if isinstance(outcome, Entered):
            return vector, outcome
        if isinstance(outcome, Unknown):
            words.append(f"the capture does not hold {outcome.what}")
            return None
        faults.append(outcome)
        if vector == exceptions.DOUBLE_FAULT and not software:
            words.append(_words(outcome, "is out of reach too") + ": triple fault, the CPU resets")
            return Ending.TRIPLE_FAULT
        # An INT instruction is benign, whatever its vector (SDM 3A, table 7-4).
        if not software and exceptions.makes_double_fault(vector, outcome.vector):
            words.append(_words(outcome, "is out of reach") + ": double fault")
            vector = exceptions.DOUBLE_FAULT
        else:
            words.append(_words(outcome, "is out of reach"))
            vector = outcome.vector
        software = False


def _words(raised: Raised, verdict: str) -> str:
    cr2 = "" if raised.cr2 is None else f", CR2={raised.cr2:#x}"
    raises = exceptions.describe(raised.vector, raised.error_code)
    return f"{raised.touching} {verdict}: {raises}{cr2}"


def _storm(
    delivery: Delivery, registers: Registers, frames: int, same_stack: bool
) -> tuple[Ending, str]:
    """How a repeating fault ends, and in words; ``frames`` were pushed so far."""
    if same_stack:
        return Ending.STORM, "the same fault again, on the same IST stack, without end"
    end = run_out(delivery, registers.rsp, list(_vital(delivery, registers)))
    if end is None:
        return Ending.STORM, "the same fault again, a frame lower each time, for a long while"
    total = frames + end.frames
    words = (
        f"the same fault again, a frame lower each time: after about {total:,} frames the stack "
        f"meets {end.what} at {end.virt:#x}, and the CPU resets"
    )
    # A row too short for the log's reader to call it a storm is a triple fault with a prelude.
    return Ending.STORM if total >= exceptions.STORM_RUN else Ending.TRIPLE_FAULT, words


def _vital(delivery: Delivery, registers: Registers) -> Iterator[Vital]:
    """What delivery reads: the descriptor tables, and the page tables that lead there."""
    for base, limit, what in (
        (registers.gdt_base, registers.gdt_limit, "the GDT"),
        (registers.idt_base, registers.idt_limit, "the IDT"),
    ):
        found = delivery.reach(base, AccessKind.READ)
        if isinstance(found, Translation):
            yield Vital(found.phys, found.phys + limit, what)
            for entry in found.entries:
                page = entry.phys & PAGE_FRAME
                yield Vital(page, page + PAGE_OFFSET, "a page table that leads to " + what)
