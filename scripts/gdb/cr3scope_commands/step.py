"""`cr3scope step`."""

from __future__ import annotations

from cr3scope.errors import UnusableInput
from cr3scope.render import crossing
from cr3scope.render.code_prediction import headline
from cr3scope.target.switch import NO_SWITCH, switch_at_pc
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.pursuit import Pursuit
from cr3scope_commands.run_to import step_over
from cr3scope_commands.target import stop

_ENTRY = "--entry"


class Step(Command):
    """Step over the `mov cr3` at the PC and on to the exception that follows, before the reset.

    cr3scope step [--entry]
    Shows what the old and the new tables make of the places that matter, says what will come, steps,
    shows what changed, and goes on: to the handler of whatever exception comes, foreseen or not.
    Where an exception cannot even be delivered the guest stops at the instruction that raises it,
    since after that the machine resets. --entry: stops at the kernel's first instruction, if it is
    reached."""

    name, usage = "step", f"[{_ENTRY}]"
    options = (_ENTRY,)

    def run(self, words: list[str]) -> None:
        if words not in ([], [_ENTRY]):
            raise self.misused()
        now = stop()
        if switch_at_pc(now) is None:
            raise UnusableInput(f"{NO_SWITCH} {now.rip:#x}: see `cr3scope break`")
        stopped = trace.judged(now)
        seen = stopped.seen
        show(crossing.places(now, seen))
        show(["", *headline(stopped), ""])
        if seen.cpu.cr3_reserved:
            show(["not stepped: the switch itself is refused"])
            return
        changes = list(crossing.changes(now, seen))
        step_over()
        after = stop()
        if after.rip == now.rip:
            raise UnusableInput("the guest did not step")
        show([f"after the switch: RIP={after.rip:#x} CR3={after.cpu.cr3:#x}", *changes, ""])
        Pursuit(now.number, to_entry=bool(words)).run(now.under(seen.cpu.cr3), seen)
