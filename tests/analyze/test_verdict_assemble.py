"""The one place where a verdict is made: the table of statuses, and that nothing is patched behind it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from boot.reference import ROOT

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.message import Message
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.status import TABLE, holds, status_of
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

PACKAGE = ROOT / "scripts/analyze/cr3scope"
FAULT, SURVIVES = Prediction(False), Prediction(True)


def error() -> Finding:
    return Finding("access-fault", Severity.ERROR, Message("wrong"), (), Message("mend"))


def case(*circumstances: Circumstance, prediction: Prediction | None = None, ending: Ending | None = None,
         findings: tuple[Finding, ...] = ()) -> Case:  # fmt: skip
    return Case(findings, prediction, Observation(ending), circumstances=frozenset(circumstances))


@pytest.mark.parametrize(
    ("weaker", "stronger", "status"),
    [
        (case(ending=Ending.STORM), case(Circumstance.NEVER_RAN, ending=Ending.STORM), Status.INCOMPLETE),
        (case(ending=Ending.HANG), case(Circumstance.GAVE_UP, ending=Ending.HANG), Status.FAULTED),
        (case(prediction=FAULT), case(Circumstance.DAMAGED, prediction=FAULT), Status.INCOMPLETE),
        (case(prediction=SURVIVES), case(Circumstance.NOTHING_TO_JUDGE), Status.INCOMPLETE),
        (case(), case(Circumstance.LOADER_REFUSED, prediction=FAULT), Status.WILL_FAULT),
        (case(prediction=FAULT), case(Circumstance.LOADER_FAILED, prediction=FAULT), Status.INCOMPLETE),
        (case(prediction=FAULT), case(prediction=FAULT, ending=Ending.HANG), Status.HUNG),
        (case(prediction=FAULT), case(prediction=FAULT, ending=Ending.TRIPLE_FAULT), Status.FAULTED),
        (case(prediction=FAULT), case(Circumstance.ABSENT, prediction=FAULT), Status.INCOMPLETE),
        (case(), case(Circumstance.DEADLY_INTERRUPT), Status.WILL_FAULT),
        (case(Circumstance.UNFINISHED), case(Circumstance.UNFINISHED, prediction=FAULT), Status.WILL_FAULT),
        (case(findings=(error(),)), case(Circumstance.UNFINISHED, findings=(error(),)), Status.INCOMPLETE),
        (case(findings=(error(),)), case(Circumstance.CHECK_FAILED, findings=(error(),)), Status.FAULTED),
        (case(), case(Circumstance.ENDED_WITH_FAILURE), Status.FAULTED),
        (case(findings=(error(),)), case(Circumstance.STOPPED_BY_IT, findings=(error(),)), Status.FAULTED),
        (case(Circumstance.CUT_SHORT), case(Circumstance.CUT_SHORT, findings=(error(),)), Status.WILL_FAULT),
        (case(), case(Circumstance.CUT_SHORT), Status.INCOMPLETE),
        (case(), case(Circumstance.TOLD_NOTHING), Status.INCOMPLETE),
    ],
)
def test_the_stronger_evidence_decides(weaker: Case, stronger: Case, status: Status) -> None:
    assert status_of(stronger) is status
    assert status_of(weaker) is not status


def test_what_stopped_the_machine_bears_on_nothing_if_nothing_is_wrong() -> None:
    assert status_of(case(Circumstance.STOPPED_BY_IT)) is Status.HEALTHY


def test_no_line_of_the_table_is_idle() -> None:
    """Each line decides some case, so none can be left out unseen."""
    cases = [
        case(*circumstances, prediction=prediction, ending=ending, findings=findings)
        for circumstances in ((), *((one,) for one in Circumstance))
        for prediction in (None, SURVIVES, FAULT)
        for ending in (None, Ending.HANG, Ending.STORM)
        for findings in ((), (error(),))
    ]
    decided = {next((n for n, (line, _) in enumerate(TABLE) if holds(line, one)), None) for one in cases}
    assert decided == {None, *range(len(TABLE))}


def test_a_verdict_holds_what_the_case_holds() -> None:
    one = case(prediction=FAULT, findings=(error(),))
    made = assemble(one)
    assert (made.findings, made.prediction, made.observation) == (one.findings, one.prediction, one.observation)


def calls(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            first = node.args[0].id if node.args and isinstance(node.args[0], ast.Name) else ""
            yield f"replace {first}" if node.func.id == "replace" else node.func.id


@pytest.mark.slow
def test_verdicts_are_made_in_one_file_and_patched_in_none() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "scripts/gdb").rglob("*.py")]
    found = {(file.name, what) for file in files for what in calls(file) if what in ("Verdict", "replace verdict")}
    assert found == {("assemble.py", "Verdict"), ("assemble.py", "replace verdict")}
