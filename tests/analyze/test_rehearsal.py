"""What the CPU itself said before the switch: read, held against the model, and told."""

from __future__ import annotations

import json

import boot_builder as b
import pytest
from analyze.said import title
from boot_builder import Scene, healthy

from cr3scope.diagnose.finding import Severity
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import RefusedRegister, RehearsalRecord, RehearseRecord
from cr3scope.render import json as as_json
from cr3scope.model import rehearsed as model
from cr3scope.render import html, text
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import RehearsalEnd, Status, Verdict
from cr3scope.x86 import exceptions
from cr3scope.x86.platform import Platform

RULE = "rehearsal-disagrees"
PUSH, ENTRY = 1, 2  # steps of the plan


def rehearse(scene: Scene, *refused: RehearsalRecord, state: str = "end", why: str = "") -> Scene:
    """All steps go through but those that are given."""
    by_step = {one.step: one for one in refused}
    scene.boot.rehearsal = [by_step.get(step.step, RehearsalRecord(0, step.step, True)) for step in scene.boot.plan]
    scene.boot.rehearse = RehearseRecord(0, state, why)
    return scene


def disagreements(verdict: Verdict) -> list[Severity]:
    return [finding.severity for finding in verdict.findings if finding.rule == RULE]


def test_without_a_rehearsal_nothing_is_said_of_one() -> None:
    verdict = analyze(healthy().capture())
    assert verdict.rehearsal is None and "rehearsal" not in text.render(verdict)
    assert json.loads(as_json.render(verdict))["rehearsal"] is None


def test_cpu_that_lets_all_through_agrees_with_a_healthy_boot() -> None:
    verdict = analyze(rehearse(healthy()).capture())
    assert verdict.status is Status.HEALTHY and not disagreements(verdict)
    assert verdict.rehearsal is not None and verdict.rehearsal.agreement is True
    assert "the CPU itself let all 5 steps through" in " ".join(text.render(verdict).split())


def test_refusal_that_the_model_foresees_is_told_as_the_cpus_own() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    refused = RehearsalRecord(0, ENTRY, True, 14, 0x11, b.ENTRY, b.ENTRY)
    verdict = analyze(rehearse(scene, refused).capture())
    assert not disagreements(verdict) and verdict.findings[0].rule == "nx-leaf-code"
    said = " ".join(text.render(verdict).split())
    assert "the CPU itself refused step 2, fetch at kernel entry: #PF (error 0011: instruction fetch, present)" in said
    step = json.loads(as_json.render(verdict))["rehearsal"]["steps"][ENTRY]
    assert (step["outcome"], step["vector"], step["error_code"], step["cr2"], step["agrees"]) == ("fault", 14, 0x11, hex(b.ENTRY), True)


def test_refusal_that_the_model_does_not_foresee_is_an_error() -> None:
    refused = RehearsalRecord(0, ENTRY, True, 14, 0x11, b.ENTRY, b.ENTRY)
    verdict = analyze(rehearse(healthy(), refused).capture())
    assert disagreements(verdict) == [Severity.ERROR] and verdict.status is Status.WILL_FAULT
    assert verdict.rehearsal is not None and verdict.rehearsal.agreement is False


def test_access_that_the_cpu_allows_and_the_model_refuses_is_a_warning() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    assert disagreements(analyze(rehearse(scene).capture())) == [Severity.WARNING]


@pytest.mark.parametrize(("vector", "agrees"), [(12, True), (13, True), (14, False)])
def test_stack_that_is_not_canonical_may_raise_either(vector: int, agrees: bool) -> None:
    scene = healthy()
    step = scene.boot.plan[PUSH]
    scene.boot.plan[PUSH] = type(step)(0, PUSH, step.name, step.kind, 1 << 60, 8, step.rip)
    refused = RehearsalRecord(0, PUSH, True, vector, 0, 0, 1 << 60)
    verdict = analyze(rehearse(scene, refused).capture())
    assert verdict.rehearsal is not None and verdict.rehearsal.steps[PUSH].agrees is agrees


def test_reserved_bit_may_come_with_or_without_present_but_no_other_bit_may_differ() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 1, set_bits=1 << 45)
    for error, agrees in ((0x19, True), (0x18, True), (0x9, False), (0x10, False)):
        refused = RehearsalRecord(0, ENTRY, True, 14, error, b.ENTRY, b.ENTRY)
        verdict = analyze(rehearse(scene, refused).capture())
        assert verdict.rehearsal is not None and verdict.rehearsal.steps[ENTRY].agrees is agrees, hex(error)


def test_step_that_was_not_tried_agrees_with_nothing() -> None:
    untried = RehearsalRecord(0, ENTRY, False, why="no \x1b[2J instruction")
    verdict = analyze(rehearse(healthy(), untried).capture())
    assert verdict.rehearsal is not None and verdict.rehearsal.steps[ENTRY].agrees is None
    assert verdict.rehearsal.agreement is True and not disagreements(verdict)
    assert "1 was not tried" in " ".join(text.render(verdict).split())


def test_reason_of_a_refused_rehearsal_is_told_without_its_control_characters() -> None:
    scene = healthy()
    scene.boot.rehearse = RehearseRecord(0, "refused", "no room \x1b[2J")
    verdict = analyze(scene.capture())
    assert verdict.rehearsal is not None and verdict.rehearsal.end is RehearsalEnd.REFUSED and not disagreements(verdict)
    for said in (text.render(verdict), html.render(verdict)):
        assert "no rehearsal was made: no room" in said and "\x1b" not in said


REFUSED = RefusedRegister("cr4", 1 << 26 | 0x20, 13, 0)


def refused_register() -> Scene:
    scene = healthy()
    scene.boot.rehearse = RehearseRecord(0, "refused", "the CPU itself refuses a planned control register", REFUSED)
    return scene


def test_planned_register_that_the_cpu_refuses_is_an_error_of_its_own() -> None:
    verdict = analyze(refused_register().capture())
    assert verdict.status is Status.WILL_FAULT and verdict.exit_status == 1
    assert [(one.rule, one.severity) for one in verdict.findings] == [("register-refused", Severity.ERROR)]
    assert title(verdict.findings[0]) == "the CPU itself refuses the planned cr4, 0x4000020"
    assert "the CPU itself refused the planned cr4 0x4000020: #GP (error 0000)" in " ".join(text.render(verdict).split())
    told = json.loads(as_json.render(verdict))["rehearsal"]["refused"]
    assert told == {"register": "cr4", "value": "0x4000020", "vector": 13, "error_code": 0}


def test_register_that_was_refused_is_a_warning_where_a_kernel_ran_all_the_same() -> None:
    scene = refused_register()
    scene.boot.summary = (3, 0)
    assert [(one.rule, one.severity) for one in analyze(scene.capture()).findings] == [("register-refused", Severity.WARNING)]


@pytest.mark.parametrize("vector", [2, 18])
def test_interruption_that_is_no_answer_of_an_access_is_no_refusal(vector: int) -> None:
    came = RehearsalRecord(0, ENTRY, True, vector, 0, 0, b.ENTRY)
    verdict = analyze(rehearse(healthy(), came).capture())
    assert verdict.status is Status.HEALTHY and not disagreements(verdict)
    assert verdict.rehearsal is not None and verdict.rehearsal.steps[ENTRY].agrees is None
    said = " ".join(text.render(verdict).split())
    assert f"the CPU itself let all 4 steps through; 1 was not tried ({exceptions.name(vector)} came at step 2)" in said
    assert json.loads(as_json.render(verdict))["rehearsal"]["steps"][ENTRY]["outcome"] == "untried"


def test_rehearsal_that_was_given_up_is_not_one_that_was_not_made() -> None:
    verdict = analyze(rehearse(healthy(), state="refused", why="no more room").capture())
    said = " ".join(text.render(verdict).split())
    assert "a rehearsal was given up: no more room; until then the CPU itself let all 5 steps through" in said


def test_rehearsal_that_never_ended_is_told_with_its_last_step() -> None:
    scene = rehearse(healthy(), state="begin")
    del scene.boot.rehearsal[ENTRY:]
    verdict = analyze(scene.capture())
    assert disagreements(verdict) == [Severity.WARNING]
    assert verdict.rehearsal is not None and verdict.rehearsal.end is RehearsalEnd.BROKEN
    assert title(next(one for one in verdict.findings if one.rule == RULE)) == "the rehearsal began, and nobody tells that it ended"


def test_a_rehearsal_whose_end_was_lost_came_back_if_the_kernel_ran() -> None:
    scene = rehearse(healthy(), state="begin")
    scene.boot.summary = (3, 0)
    assert not disagreements(analyze(scene.capture()))


def test_record_of_a_step_that_no_plan_has_is_skipped() -> None:
    scene = healthy()
    scene.boot.rehearsal = [RehearsalRecord(0, 77, True, 14, 0, 0, 0)]
    scene.boot.rehearse = RehearseRecord(0, "end", "")
    verdict = analyze(scene.capture())
    assert verdict.rehearsal is not None and verdict.rehearsal.steps == () and verdict.rehearsal.agreement is None
    assert not disagreements(verdict)


def test_step_that_is_rehearsed_thousands_of_times_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []

    def counted(*arguments: object) -> None:
        walked.append(arguments)

    monkeypatch.setattr(model, "strike", counted)
    scene = healthy()
    scene.boot.rehearsal = [RehearsalRecord(0, ENTRY, True)] * 4096
    boot = scene.capture().boots[0]
    steps = list(model.rehearsed(boot, DumpTables(boot.dumps["new"]), cpu_state(boot.cpus["handoff"]), Platform.HARDWARE))
    assert len(steps) == 4096 and len(walked) == 1
