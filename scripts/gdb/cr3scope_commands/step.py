"""`cr3scope step`."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope import exceptions
from cr3scope.errors import UnusableInput
from cr3scope.paging.platform import Platform
from cr3scope.verdict import Ending
from cr3scope_commands import crossing, fault
from cr3scope_commands.check import headline
from cr3scope_commands.command import Command, show
from cr3scope_commands.forecast import Forecast, forecast
from cr3scope_commands.handlers import handlers
from cr3scope_commands.run_to import SECONDS, run_to, step_over
from cr3scope_commands.switch import switch_at_pc
from cr3scope_commands.target import Stop, stop


class Step(Command):
    """Step over the `mov cr3` at the PC and on to the exception that follows, before the reset.

    cr3scope step
    Shows what the old and the new tables make of the places that matter, says what will come, steps,
    shows what changed, and goes on: to the handler of whatever exception comes, foreseen or not,
    else to the entry. Where an exception cannot even be delivered the guest stops at the
    instruction that raises it, since after that the machine resets."""

    name = "step"

    def run(self, words: list[str]) -> None:
        self.no_arguments(words)
        now = stop()
        if switch_at_pc(now) is None:
            raise UnusableInput(f"no mov cr3 at the PC {now.rip:#x}: see `cr3scope break`")
        seen = forecast(now)
        show(crossing.places(now, seen))
        show(["", *headline(now, seen), ""])
        if seen.cpu.cr3_reserved:
            show(["not stepped: the switch itself is refused"])
            return
        changes = list(crossing.changes(now, seen))
        step_over()
        after = stop()
        if after.rip == now.rip:
            raise UnusableInput("the guest did not step")
        show([f"after the switch: RIP={after.rip:#x} CR3={after.cpu.cr3:#x}", *changes, ""])
        _go_on(now, seen)


def _go_on(now: Stop, seen: Forecast) -> None:
    """To the exception, or to the entry, or to where nothing more can be told."""
    under = now.under(seen.cpu.cr3)
    registers = (seen.refused or seen.steps[-1]).registers
    stubs = handlers(under, registers)
    if seen.refused is not None and not (seen.chain and seen.chain.enters):
        if stop().rip != seen.refused.by:
            run_to([*stubs, seen.refused.by], now.platform is Platform.TCG)
        arrived = stop()
        if arrived.rip == seen.refused.by:
            ends = seen.chain.ends if seen.chain else None
            outcome = f"; what follows is a {ends.value}" if ends else ""
            at = f"{arrived.rip:#x}"
            show([f"no handler can be entered: stopped before the fault, at RIP={at}{outcome}"])
            return
    else:
        entry = next((step.virt for step in seen.steps if step.name == "entry"), None)
        goals = [entry] if entry is not None and seen.refused is None else []
        if not goals and seen.refused is None:
            show(["nothing is foreseen and no entry is known: `continue` goes on"])
            return
        run_to([*stubs, *goals], now.platform is Platform.TCG)
        arrived = stop()
        if arrived.rip in goals and arrived.rip not in stubs:
            show([f"at the entry, RIP={arrived.rip:#x}, and no exception has come"])
            return
    show(_arrival(arrived, stubs, seen))


def _arrival(arrived: Stop, stubs: dict[int, tuple[int, ...]], seen: Forecast) -> Iterator[str]:
    vectors = stubs.get(arrived.rip)
    if vectors is None:
        yield f"stopped elsewhere, at RIP={arrived.rip:#x}, after {SECONDS:g} s at most"
        return
    expected = seen.fault.vector if seen.fault else None
    vector = expected if expected in vectors else vectors[0]
    surprise = "" if vector == expected else ", which was not foreseen"
    yield f"caught {exceptions.name(vector)} at its handler {arrived.rip:#x}{surprise}:"
    yield from fault.report(arrived, vector)
    ends = seen.chain.ends if seen.chain else None
    if vector == expected and ends is not None and ends is not Ending.HANDLED:
        yield f"the handler cannot run; what follows is a {ends.value}"
