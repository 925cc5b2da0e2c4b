"""What a reset was that no log tells of: the paused CPU stands at what it died of, or behind what it asked by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from analyze.dead_guest import CODE, PAGE, Ram, guest
from analyze.mode_machine import Machine

from cr3scope.diagnose.facts.reset import reset_port
from cr3scope.diagnose.facts.unlogged_death import unlogged_death
from cr3scope.input.logs.log_report import LogReport
from cr3scope.qemu import examine
from cr3scope.qemu.ending import with_ending
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.target.stopped_cpu import Table
from cr3scope.verdict.run import RunEnd, judge_untraced
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import PAGE_FAULT, UNDEFINED
from cr3scope.x86.mode import Mode

UD2, HLT = b"\x0f\x0b", b"\xf4"
OUT_64, OUT_60 = b"\xe6\x64", b"\xe6\x60"


def test_an_instruction_that_cannot_be_fetched_is_one() -> None:
    ram = Ram()
    ram.unmap(CODE)
    fault = unlogged_death(guest(ram, CR2=CODE))
    assert fault is not None and (fault.vector, fault.cr2, fault.rip) == (PAGE_FAULT, CODE, CODE)
    assert unlogged_death(guest(ram, CR2=CODE + PAGE)) is None  # the CPU has met no page fault there


def test_an_instruction_that_is_refused_is_one_unless_a_handler_takes_it() -> None:
    ram = Ram()
    ram.put(CODE, UD2)
    fault = unlogged_death(guest(ram))
    assert fault is not None and (fault.vector, fault.rip) == (UNDEFINED, CODE)
    ram.put(CODE, HLT + UD2)
    assert unlogged_death(guest(ram)) is None  # it is the next but one
    handled = Machine(Mode.LEVELS_4)
    handled.store(handled.registers["RIP"] - handled.high, int.from_bytes(UD2, "little"), 2)
    assert unlogged_death(handled.stopped()) is None


def test_a_cpu_in_real_mode_tells_nothing() -> None:
    """It may be one that has been reset since."""
    ram = Ram()
    ram.put(0xFFF0, UD2)
    reset = guest(ram, CR0=0x60000010, CR3=0, CR4=0, EFER=0, RIP=0xFFF0)
    assert unlogged_death(replace(reset, code_bits=16, idt=Table(0, 0))) is None


@pytest.mark.parametrize(("code", "port"), [(OUT_64, "the keyboard controller, port 64h"), (OUT_64 + HLT, "the keyboard controller, port 64h"), (OUT_60, "")])
def test_who_has_written_to_what_resets_has_asked_for_it(code: bytes, port: str) -> None:
    ram = Ram()
    ram.put(CODE - len(code), code)
    assert reset_port(guest(ram)) == port


@pytest.mark.parametrize("code", [OUT_64 + HLT, UD2], ids=["asked", "died"])
def test_of_several_cpus_the_one_is_judged_that_has_done_it(code: bytes) -> None:
    ram, outcome = Ram(), Outcome(Reason.RESET)
    ram.put(CODE, code)
    idle, other = guest(ram, RIP=CODE - PAGE), replace(guest(ram, RIP=CODE + 2 * (code != UD2)), number=1)
    assert examine._reset_unlogged((idle, other), outcome) == (other, idle)
    assert (outcome.met is not None) == (code == UD2)


def test_of_a_plan_nobody_says_that_it_ran_where_nothing_tells_of_a_reset() -> None:
    """Else a death that was foreseen, and came, would be one that the machine did not die."""
    assert with_ending(LogReport(), Outcome(Reason.RESET)) is None


@pytest.mark.parametrize("is_emulated", [False, True])
@pytest.mark.parametrize("met", [None, Fault(PAGE_FAULT, 0x10, CODE, CODE, 0x1000)])
def test_a_reset_is_called_what_is_known_of_it(is_emulated: bool, met: Fault | None) -> None:
    """Each of them was a triple fault, \"the log has no record under the new CR3\"."""
    outcome = Outcome(Reason.RESET, is_emulated=is_emulated, met=None if is_emulated else met)
    seen = with_ending(LogReport(), outcome, traced=False)
    assert seen is not None
    assert (seen.ending, seen.first) == ((Ending.TRIPLE_FAULT, met) if outcome.met else (None, None))
    if not outcome.met:
        verdict = judge_untraced(RunEnd(asked_for_reset=True, is_reset_untold=outcome.is_reset_untold), seen, None)
        assert [finding.rule for finding in verdict.findings] == ["asked-for-reset" if is_emulated else "reset-untold"]
