"""`cr3scope step`."""

from __future__ import annotations

import time

from cr3scope.errors import UnusableInput
from cr3scope.render import crossing
from cr3scope.render.code_prediction import headline
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import NO_SWITCH, switch_at_pc
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.pursuit import Pursuit
from cr3scope_commands.run_to import step_over
from cr3scope_commands.target import stop

_ENTRY = "--entry"
PATIENT_SECONDS = 30.0  # a mov cr3 takes no time, but the machine that emulates it may be busy


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
        after = _stepped(now)
        show([f"after the switch: RIP={after.rip:#x} CR3={after.cpu.cr3:#x}", *changes, ""])
        Pursuit(now.number, to_entry=bool(words)).run(now.under(seen.cpu.cr3), seen)


def _stepped(now: StoppedCpu) -> StoppedCpu:
    """Return the CPU behind the instruction at which it stands. An error if that is never executed.

    gdb may give a step up before the stub has made it: what has not happened is asked for again.
    """
    until = time.monotonic() + PATIENT_SECONDS
    while (left := until - time.monotonic()) > 0:
        step_over(left)
        after = stop()
        if after.rip != now.rip:
            return after
    raise UnusableInput(f"the guest did not step within {PATIENT_SECONDS:g} s")
