"""`cr3scope step`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.predict.descriptors import GATE_BYTES, Gate
from cr3scope.verdict import Ending
from cr3scope_commands import fault
from cr3scope_commands.check import report
from cr3scope_commands.command import Command, show
from cr3scope_commands.forecast import Forecast, forecast
from cr3scope_commands.switch import switch_at_pc
from cr3scope_commands.target import Stop, stop


class Step(Command):
    """Step over the `mov cr3` at the PC and on to the exception that follows, before the reset.

    cr3scope step
    Says first what will come. If nothing will fault, only the one instruction is executed. If the
    handler runs, the guest stops at its first instruction; if not, at the
    instruction that will fault."""

    name = "step"

    def run(self, words: list[str]) -> None:
        self.no_arguments(words)
        now = stop()
        if switch_at_pc(now) is None:
            raise UnusableInput(f"no mov cr3 at the PC {now.rip:#x}: see `cr3scope break`")
        seen = forecast(now)
        show(report(now, seen))
        handler = _handler(now, seen)
        if handler is None or seen.refused is None or seen.refused.name != "next fetch":
            _step_over()
        after = stop()
        if after.rip == now.rip:
            _show_handler(handler, seen)
            return
        show([f"after the switch: RIP={after.rip:#x} CR3={after.cpu.cr3:#x}"])
        if seen.fault is None or seen.refused is None:
            return
        if handler is not None:
            _show_handler(handler, seen)
            return
        if after.rip != seen.refused.by:
            _go_to(seen.refused.by)
        ends = seen.chain.ends if seen.chain else None
        outcome = f"; what follows is a {ends.value}" if ends else ""
        at = f"{stop().rip:#x}"
        show([f"the handler cannot run: stopped before the fault, at RIP={at}{outcome}"])


def _handler(now: Stop, seen: Forecast) -> int | None:
    """Where the exception to come will be handled, if its handler can run at once."""
    if seen.fault is None or seen.chain is None or seen.chain.ends is not Ending.HANDLED:
        return None
    if len(seen.chain.words) != 1 or now.idt is None:
        return None
    at = now.idt.base + GATE_BYTES * seen.fault.vector
    data = now.bytes_at(at, GATE_BYTES)
    return Gate.decode(data).offset if len(data) == GATE_BYTES else None


def _show_handler(handler: int | None, seen: Forecast) -> None:
    """Runs to the handler and decodes what it is handed."""
    if handler is None or seen.fault is None:
        raise UnusableInput("the guest did not step")
    _go_to(handler)
    arrived = stop()
    if arrived.rip != handler:
        show([f"stopped elsewhere, at RIP={arrived.rip:#x}"])
        return
    show([f"caught at the handler {handler:#x}:", *fault.report(arrived, seen.fault.vector)])


def _step_over() -> None:
    """gdb complains once it stands where the new tables map nothing, but it has stepped."""
    with suppress(gdb.MemoryError):
        gdb.execute("stepi", to_string=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Other breakpoints are off within it."""
    others = [one for one in gdb.breakpoints() if one.enabled]
    for one in others:
        one.enabled = False
    try:
        yield
    finally:
        for one in others:
            one.enabled = True


def _go_to(virt: int) -> None:
    """Runs until ``virt`` is to be executed. By hardware: not every page can be written."""
    with _alone():
        there = gdb.Breakpoint(f"*{virt:#x}", gdb.BP_HARDWARE_BREAKPOINT, internal=True)
        try:
            gdb.execute("continue", to_string=True)
        finally:
            there.delete()
