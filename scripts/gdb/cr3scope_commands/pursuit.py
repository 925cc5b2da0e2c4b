"""After the switch: lets the guest run to the next exception, and stops it before the reset.

It goes on from one place where nothing certain can be told to the next; each piece of the way is judged
before the guest walks it, so that an exception without a handler is seen before it resets the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.model.follow.course import Step, Why
from cr3scope.diagnose.stopped import findings
from cr3scope.model.code_prediction import CodePrediction, predict_code, outcome
from cr3scope.model.handlers import handlers
from cr3scope.model.loops import way_out
from cr3scope.model.role import Role
from cr3scope.qemu.qmp import QmpError
from cr3scope.render.finding import title
from cr3scope.render.message import text
from cr3scope.text import printable
from cr3scope.x86 import exceptions
from cr3scope.x86.ending import Ending
from cr3scope_commands import fault
from cr3scope_commands.command import show
from cr3scope_commands.run_to import SECONDS, run_to, step_over
from cr3scope_commands.source_line import place
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope_commands.target import is_emulated, stop

PIECES = 100
PIECES_SECONDS = 5.0
LOOP_SECONDS = 1.0
FIRST_PIECE_SECONDS = 0.05  # of the run without a look ahead; each further one takes twice as long
RESET = 0xFFFFFFF0  # linear address of the first instruction after a reset (Intel SDM vol. 3A, 11.1.4)
_RESET_OFFSET = RESET & 0xFFFF
_TRAPS = {Why.NO_INSTRUCTION: exceptions.UNDEFINED, Why.BREAKPOINT: exceptions.BREAKPOINT}


class _Reset(Exception):
    """The machine is at its reset vector; the message says since where."""


class Pursuit:
    """One CPU's way on. Prints what comes of it."""

    def __init__(self, cpu: int, to_entry: bool) -> None:
        self._cpu, self._to_entry = cpu, to_entry
        self._emulated = is_emulated()
        self._is_later = False  # than what the first look ahead told
        self._at = 0
        self._stubs: dict[int, tuple[int, ...]] = {}

    def run(self, under: StoppedCpu, seen: CodePrediction) -> None:
        """Follow the guest from the first instruction behind the switch.

        ``under``: the guest before it, seen through the new tables, as ``seen`` judges it.
        """
        try:
            show(self._all(under, seen))
        except _Reset as reset:
            show([str(reset)])
        except (QmpError, gdb.error, UnusableInput):
            if gdb.selected_inferior().pid:
                raise
            show([f"QEMU ended: the guest turned off, or reset under -no-reboot; no exception was caught, and the"
                  f" last place known is RIP={self._at:#x}{place(self._at)}"])  # fmt: skip

    def _all(self, under: StoppedCpu, seen: CodePrediction) -> Iterator[str]:
        until = time.monotonic() + PIECES_SECONDS
        entry = _reached_entry(seen)
        if entry is not None and (self._to_entry or seen.refused is None):
            self._look(under, seen)
            arrived = self._go([entry])
            if arrived.rip != entry:
                yield from self._elsewhere(arrived, seen)
                return
            yield f"at the entry, RIP={entry:#x}, and no exception has come"
            under, seen = arrived, predict_code(arrived)
        elif self._to_entry and seen.refused is None:
            yield f"no entry is known: stopped behind the switch, at RIP={stop().rip:#x}"
        if not self._to_entry or (entry is None and seen.refused is not None):
            yield from self._pieces(under, seen, until)

    def _pieces(self, under: StoppedCpu, seen: CodePrediction, until: float) -> Iterator[str]:
        for _ in range(PIECES):
            self._look(under, seen)
            if seen.refused is not None and _is_unsettled(seen) and stop().rip != seen.refused.by:
                # What lies in the IDT is known once the guest stands there.
                arrived = self._go([seen.refused.by])
                if arrived.rip == seen.refused.by:
                    under, seen = arrived, predict_code(arrived)
                    continue
            if seen.refused is not None:
                yield from self._meet(under, seen, seen.refused)
                return
            self._is_later = True
            arrived = self._go([seen.last.rip])
            if arrived.rip != seen.last.rip:
                yield from self._elsewhere(arrived, seen)
                return
            if arrived.interrupts_on and seen.why in (Why.LOOP, Why.HALT):
                break  # an interrupt leads on from here
            ended = self._cannot_go_on(arrived, seen)
            if ended:
                yield ended
                return
            if time.monotonic() > until:
                break
            arrived = self._past(arrived)
            if arrived.rip in self._stubs:
                yield from self._elsewhere(arrived, seen)
                return
            under, seen = arrived, predict_code(arrived)
        yield from self._unguided(seen)

    def _look(self, under: StoppedCpu, seen: CodePrediction) -> None:
        """The handlers at this piece's beginning, and at its end."""
        self._at = seen.last.rip
        first = handlers(under, under.delivery_registers)
        self._stubs = {**first, **handlers(under, (seen.refused or seen.steps[-1]).registers)}
        self._stubs.update(handlers(under, seen.last))

    def _go(self, goals: list[int]) -> StoppedCpu:
        now = stop()
        if now.rip not in goals:
            run_to([*goals, *self._stubs, RESET], self._emulated)
            now = self._stop()
        return now

    def _stop(self) -> StoppedCpu:
        try:
            return stop()
        except UnusableInput:
            if gdb.selected_inferior().pid and int(gdb.parse_and_eval("$pc")) == _RESET_OFFSET:
                raise _Reset(
                    "the machine has reset: an exception came that no handler could take, or the guest asked"
                    f" for it; the last place known is RIP={self._at:#x}{place(self._at)}"
                ) from None
            raise

    def _past(self, now: StoppedCpu) -> StoppedCpu:
        """Over the instruction that ended a piece; of a loop that it closes, to behind that."""
        out = way_out(now)
        if out is not None:
            run_to([out, *self._stubs, RESET], self._emulated, LOOP_SECONDS)
        else:
            step_over()
        return self._stop()

    def _meet(self, under: StoppedCpu, seen: CodePrediction, refused: Step) -> Iterator[str]:
        """The exception that was foreseen."""
        if self._is_later and seen.fault is not None:
            fault = seen.fault
            words = exceptions.describe(fault.vector, fault.error_code, fault.is_fetch, fault.in_long_mode)
            yield f"later: {words} at RIP={refused.by:#x}{place(refused.by)}"
            yield from (f"rule: {finding.rule}: {printable(title(finding))}" for finding in findings(under, seen))
        if seen.chain is None or seen.chain.enters or seen.chain.ends is None:
            arrived = self._go(list(self._stubs))
            yield from self._elsewhere(arrived, seen)
            return
        arrived = self._go([refused.by])
        if arrived.rip != refused.by:
            yield from self._elsewhere(arrived, seen)
            return
        ends = seen.chain.ends.value
        where = f"RIP={arrived.rip:#x}"
        yield f"no handler can be entered: stopped before the fault, at {where}; what follows is a {ends}"

    def _cannot_go_on(self, now: StoppedCpu, seen: CodePrediction) -> str:
        """Why the next instruction is not to be stepped over; empty if it may be."""
        where = f"RIP={now.rip:#x}{place(now.rip)}"
        if seen.why is Why.LOOP:
            return f"no exception: the code ends in an endless loop at {where}"
        if seen.why is Why.HALT:
            return f"no exception: the CPU halts at {where}"
        vector = _TRAPS.get(seen.why)
        chain = None if vector is None else outcome(now, now.cpu, vector, now.delivery_registers)
        if vector is not None and chain is not None and chain.ends is not None and not chain.enters:
            certain = "" if seen.why is Why.BREAKPOINT else "what may raise "
            return f"stopped before {certain}{exceptions.name(vector)}, which has no handler, at {where}"
        return ""

    def _unguided(self, seen: CodePrediction) -> Iterator[str]:
        """Without a look ahead; the handlers are those of the IDT that is loaded by then."""
        yield f"no exception so far; the guest runs on, for {SECONDS:g} s at most"
        until = time.monotonic() + SECONDS
        piece = FIRST_PIECE_SECONDS
        while True:
            run_to([*self._stubs, RESET], self._emulated, min(piece, until - time.monotonic()))
            arrived = self._stop()
            if arrived.rip in self._stubs:
                yield from self._elsewhere(arrived, seen)
                return
            if time.monotonic() > until:
                break
            self._at = arrived.rip
            self._stubs = handlers(arrived, arrived.delivery_registers)
            piece *= 2
        yield f"no exception in {SECONDS:g} s; stopped at RIP={arrived.rip:#x}{place(arrived.rip)}"

    def _elsewhere(self, arrived: StoppedCpu, seen: CodePrediction) -> Iterator[str]:
        """At a handler, or where nobody meant the guest to be."""
        vectors = self._stubs.get(arrived.rip)
        if vectors is None:
            yield f"stopped elsewhere, at RIP={arrived.rip:#x}, after {SECONDS:g} s at most"
            return
        expected = _expected(seen)
        vector, doubt = fault.which(arrived, vectors, expected)
        before = seen.chain.words if seen.chain and vector == exceptions.DOUBLE_FAULT in expected else ()
        surprise = "" if vector in expected else ", which was not foreseen"
        whose = "" if arrived.number == self._cpu else f" on CPU {arrived.number}, which did not switch"
        yield f"caught {exceptions.name(vector)} at its handler {arrived.rip:#x}{whose}{surprise}:"
        yield from doubt
        yield from (f"  {text(said)}" for said in before)
        yield from fault.report(arrived, vector)
        ends = seen.chain.ends if seen.chain else None
        if vector in expected and ends is not None and ends is not Ending.HANDLED:
            yield f"the handler cannot run; what follows is a {ends.value}"


def _is_unsettled(seen: CodePrediction) -> bool:
    """Whether nothing tells what becomes of the exception."""
    return seen.chain is not None and seen.chain.ends is None and not seen.chain.enters


def _reached_entry(seen: CodePrediction) -> int | None:
    """The entry's address, if nothing is refused before it."""
    for step in seen.steps:
        if step is seen.refused:
            return None
        if step.role is Role.ENTRY:
            return step.virt
    return None


def _expected(seen: CodePrediction) -> tuple[int, ...]:
    """The exception whose handler is the first to be entered."""
    if seen.chain is not None and seen.chain.vectors:
        return seen.chain.vectors[:1]
    return () if seen.fault is None else (seen.fault.vector,)
