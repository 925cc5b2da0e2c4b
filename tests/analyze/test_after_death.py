"""What would have come next in a guest that died, from its registers at the fault and its memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analyze.said import detail, fix
from analyze.test_predict_next_causes import edited, stopped
from core_builder import CODE, NEW, NX, STACK, memory

from cr3scope.diagnose.after_death import at_death, joined, next_after
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.finding import Finding
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import Message
from cr3scope.model.prediction import Prediction
from cr3scope.qemu.outcome import Outcome
from cr3scope.render.fault_walk import as_text
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.verdict.fault_walk import walk_in_memory
from cr3scope.verdict.run import RunEnd, judge_untraced
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import WRITABLE

BEHIND = CODE + 3  # the instruction behind mov cr3
AT_FAULT = AtFault({"RIP": BEHIND, "RSP": 0x900000, "CR3": NEW, "RAX": NEW}, 64)
FETCH = Fault(14, 0x11, BEHIND, BEHIND, NEW)


def dead(folder: Path) -> StoppedCpu:
    """Its handler, where it ended, is elsewhere."""
    pages = edited(memory(veto=NX), 4, keep=~WRITABLE)  # the stack lies in the fifth 2 MiB
    return stopped(folder, pages, RIP=0x123456, RSP=STACK, CR3=NEW)


def report(fault: Fault) -> LogReport:
    return LogReport(fault, ending=Ending.TRIPLE_FAULT, fatal=fault)


def alive(folder: Path, at_fault: AtFault = AT_FAULT) -> StoppedCpu:
    now = at_death(dead(folder), at_fault)
    assert now is not None
    return now


def found(rule: str = "nx-upper-level") -> Finding:
    return BY_ID[rule].finding(Message("as the log and the tables tell"))


def test_the_code_at_the_fault_tells_the_mend_and_what_comes_next(tmp_path: Path) -> None:
    coming = next_after(alive(tmp_path), report(FETCH))
    first, second = joined((found(),), coming)
    assert first.title == found().title  # told as it was found
    assert fix(first).startswith("clear NX (bit 63) of PML4[0] (then 0x12003). ")
    assert (second.rule, fix(second)[:26]) == ("stack-readonly", "set R/W (bit 1) of PD[4] (")
    assert detail(second) == f"stack write: #PF (error 0003: write, present), CR2=0x8ffff8, RIP={BEHIND:#x}"
    assert coming.free is not None and coming.free.count == 3


@pytest.mark.parametrize(
    "fault",
    [
        replace(FETCH, rip=BEHIND + 1),
        replace(FETCH, cr2=0x5000),
        replace(FETCH, error_code=0x10),
        replace(FETCH, error_code=0x15),  # in user mode
        replace(FETCH, vector=13, cr2=None),
    ],
)
def test_another_fault_than_the_code_leads_to_tells_of_nothing_behind_it(tmp_path: Path, fault: Fault) -> None:
    coming = next_after(alive(tmp_path), report(fault))
    assert coming.obstacles == ()
    assert joined((found(),), coming) == (found(),)


def test_a_finding_of_another_rule_is_left_as_it_is(tmp_path: Path) -> None:
    coming = next_after(alive(tmp_path), report(FETCH))
    assert coming.obstacles
    assert joined((found("code-overwritten"),), coming) == (found("code-overwritten"),)


@pytest.mark.parametrize("lost", ["RIP", "RSP", "CR3"])
def test_without_the_registers_at_the_fault_nobody_knows(tmp_path: Path, lost: str) -> None:
    registers = {name: value for name, value in AT_FAULT.registers.items() if name != lost}
    assert at_death(dead(tmp_path), AtFault(registers)) is None
    assert at_death(dead(tmp_path), AT_FAULT) is not None
    in_user_mode = replace(dead(tmp_path), selectors={"CS": 0x23})
    assert at_death(in_user_mode, AT_FAULT) is None


def test_what_explains_more_is_put_first_and_nothing_is_said_of_the_way_behind_it() -> None:
    """With overwritten code nobody knows what the mends of tables would lead to."""
    outcome = Outcome(findings=(found(),), mended=Prediction(True))
    outcome.put_first([])
    assert outcome.mended is not None
    outcome.put_first([found("code-overwritten")])
    assert [one.rule for one in outcome.findings] == ["code-overwritten", "nx-upper-level"]
    assert outcome.mended is None


def test_of_a_kernel_that_gave_up_nothing_is_said_of_the_way_behind_a_mend() -> None:
    end = RunEnd(findings=(found(),), mended=Prediction(True))
    assert judge_untraced(end, report(FETCH), None).mended is not None
    assert judge_untraced(replace(end, panic="no root"), report(FETCH), None).mended is None


@pytest.mark.parametrize(("cr2", "words"), [(BEHIND, "refused: no-execute"), (0x800000, "refused: read-only")])
def test_the_walk_shows_the_tables_as_they_lie_in_memory_now(tmp_path: Path, cr2: int, words: str) -> None:
    write = cr2 != BEHIND
    fault = Fault(14, 3 if write else 0x11, cr2, BEHIND, NEW)
    walk = walk_in_memory(dead(tmp_path), fault)
    assert walk is not None
    assert next(line for line in as_text(walk, False) if line).endswith(words)
    changed = walk_in_memory(dead(tmp_path), replace(fault, cr2=0x200000, error_code=3))
    assert changed is not None and "let through now: they were changed since" in " ".join(as_text(changed, False))
