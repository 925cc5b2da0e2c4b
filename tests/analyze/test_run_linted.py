"""What a guest's files show by themselves, beside its boot: a cause where it died of that, else a warning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analyze.lint_files import Kernel, written

from cr3scope.cli.lint_files import FilesLinted
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.message import Message
from cr3scope.render.finding import proof
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case
from cr3scope.verdict.linted import FileFinding, with_linted
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

AT = 0x10_1000
FELL = replace(BY_ID["wrong-entry"].finding(Message("the entry fell on memcpy")), range=(AT, AT + 31))
RED = BY_ID["red-zone"].finding(Message("functions keep variables below RSP"))
NX = BY_ID["efi-strict-nx"].finding(Message("no NX_COMPAT"), severity=Severity.NOTE)
OWN = BY_ID["code-unmapped"].finding(Message("not mapped"))


def died(ending: Ending | None, rip: int, *findings: Finding) -> Case:
    return Case(findings, observation=Observation(ending, Fault(14, 2, 0, rip)))


def told(case: Case, *found: FileFinding, rip: int | None = None) -> list[tuple[str, str]]:
    return [(one.rule, one.severity.value) for one in with_linted(case, found, rip).findings]


@pytest.mark.parametrize(
    ("case", "rip", "expected"),
    [
        (died(Ending.TRIPLE_FAULT, AT + 4, OWN), None, [("wrong-entry", "error"), ("code-unmapped", "error")]),
        (died(Ending.TRIPLE_FAULT, AT + 40, OWN), None, [("code-unmapped", "error"), ("wrong-entry", "warning")]),
        (died(Ending.HANG, AT + 40), AT, [("wrong-entry", "error")]),
        (died(Ending.HANG, AT), AT + 40, [("wrong-entry", "warning")]),
        (died(Ending.HANDLED, AT), None, [("wrong-entry", "warning")]),
        (died(Ending.PARKED, AT), AT, [("wrong-entry", "warning")]),
        (died(None, AT), AT, [("wrong-entry", "warning")]),
        (Case(), None, [("wrong-entry", "warning")]),
    ],
)
def test_a_mistake_of_the_file_is_the_cause_only_where_the_guest_died_in_it(
    case: Case, rip: int | None, expected: list[tuple[str, str]]
) -> None:
    assert told(case, FileFinding(FELL), rip=rip) == expected


def test_of_a_kernel_that_qemu_enters_a_wrong_entry_explains_any_death() -> None:
    case = died(Ending.TRIPLE_FAULT, 0x9999)
    assert told(case, FileFinding(FELL, is_booted=True)) == [("wrong-entry", "error")]
    assert told(case, FileFinding(replace(FELL, rule="segment-layout"), is_booted=True)) == [("segment-layout", "warning")]


def test_which_of_the_files_it_is_is_told(tmp_path: Path) -> None:
    both = tmp_path / "with symbols", tmp_path / "as QEMU takes it"
    for path in both:
        written(path, Kernel(entry=0).bytes())
    linted = FilesLinted()
    linted.start(both[:1], both[1])
    found = [(one.finding.rule, proof(one.finding)[0], one.is_booted) for one in linted.wait().findings]
    assert found == [("wrong-entry", f"in {path}, as it is before the boot", path is both[1]) for path in both]


def test_warnings_come_behind_all_else_and_change_no_verdict() -> None:
    healthy = with_linted(died(None, AT), [FileFinding(RED), FileFinding(FELL), FileFinding(NX)], None)
    assert assemble(healthy).exit_status == 0
    assert [(one.rule, one.severity.value) for one in healthy.findings] == [("red-zone", "warning"), ("wrong-entry", "warning")]


def test_what_the_boot_has_found_by_the_same_rule_is_not_told_twice() -> None:
    own = BY_ID["wrong-entry"].finding(Message("the jump goes to 0"))
    assert told(died(Ending.TRIPLE_FAULT, AT, own), FileFinding(FELL)) == [("wrong-entry", "error")]
