"""`cr3scope step`."""

from __future__ import annotations

import time

from cr3scope.errors import UnusableInput
from cr3scope.model.code_prediction import predict_code
from cr3scope.model.role import Role
from cr3scope.render import crossing
from cr3scope.render.code_prediction import headline
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import NO_SWITCH, mode_switch_at_pc, switch_at_pc
from cr3scope.verdict.stopped import StoppedVerdict
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PG
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.pursuit import Pursuit
from cr3scope_commands.run_to import step_over
from cr3scope_commands.target import REAL_MODE, stop

_ENTRY = "--entry"
PATIENT_SECONDS = 30.0  # a mov cr3 takes no time, but the machine that emulates it may be busy


class Step(Command):
    """Step over the switch at the PC and on to the exception that follows, before the reset.

    cr3scope step [--entry]
    Shows what the old and the new tables make of the places that matter, says what will come, steps,
    shows what changed, and goes on: to the handler of whatever exception comes, foreseen or not.
    Where an exception cannot even be delivered the guest stops at the instruction that raises it,
    since after that the machine resets. --entry: stops at the kernel's first instruction, if it is
    reached. A switch is a mov to CR0, CR3 or CR4, a wrmsr, a far jump, lgdt, lidt or ltr."""

    name, usage = "step", f"[{_ENTRY}]"
    options = (_ENTRY,)

    def run(self, words: list[str]) -> None:
        if words not in ([], [_ENTRY]):
            raise self.misused()
        now = stop(in_real_mode=True)
        if mode_switch_at_pc(now) is None:
            if now.mode is CpuMode.REAL:
                raise UnusableInput(REAL_MODE)
            raise UnusableInput(f"{NO_SWITCH} {now.rip:#x}: see `cr3scope break`")
        stopped = trace.judged(now)
        seen = stopped.seen
        if switch_at_pc(now) is None or not now.cpu.cr0 & CR0_PG:
            self._over_other(now, stopped, to_entry=bool(words))
            return
        show(crossing.places(now, seen))
        show(["", *headline(stopped), ""])
        if seen.cpu.cr3_reserved:
            show(["not stepped: the switch itself is refused"])
            return
        changes = list(crossing.changes(now, seen))
        after = _stepped(now)
        show([f"after the switch: RIP={after.rip:#x} CR3={after.cpu.cr3:#x}", *changes, ""])
        Pursuit(now.number, to_entry=bool(words)).run(now.under(seen.cpu.cr3), seen)

    def _over_other(self, now: StoppedCpu, stopped: StoppedVerdict, to_entry: bool) -> None:
        """Step over what is no change of tables that are in force: what it makes of paging and of the mode, and what follows."""
        seen = stopped.seen
        show([*headline(stopped), ""])
        if seen.refused is not None and seen.refused.by == now.rip and seen.refused.role is Role.INSTRUCTION:
            show(["not stepped: the instruction itself is refused"])
            return
        after = _stepped(now)
        cpu = after.cpu
        told = (f"CR0={cpu.cr0:#x} CR3={cpu.cr3:#x} CR4={cpu.cr4:#x} EFER={cpu.efer:#x}", after.mode.value, cpu.paging_mode.value)
        show([f"after it: RIP={after.rip:#x} {told[0]}, {told[1]}, {after.code_bits}-bit code, paging: {told[2]}", ""])
        if after.mode is not CpuMode.REAL:
            Pursuit(now.number, to_entry=to_entry).run(after, predict_code(after))


def _stepped(now: StoppedCpu) -> StoppedCpu:
    """Return the CPU behind the instruction at which it stands. An error if that is never executed.

    gdb may give a step up before the stub has made it: what has not happened is asked for again.
    """
    until = time.monotonic() + PATIENT_SECONDS
    while (left := until - time.monotonic()) > 0:
        step_over(left)
        after = stop(in_real_mode=True)
        if after.rip != now.rip:
            return after
    raise UnusableInput(f"the guest did not step within {PATIENT_SECONDS:g} s")
