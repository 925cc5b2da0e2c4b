"""The one-word answer, and what may never be called healthy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boot_builder as b
import pytest
from analyze.said import detail, fix, title
from boot_builder import Scene, healthy

from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.rule import Context
from cr3scope.input.capture.records import Boot, Capture, FaultRecord
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.event import InterruptRecord, RegisterDump
from cr3scope.input.logs.happened import Happened
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.intent import Intent
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.analysis import analyze, chosen_boot
from cr3scope.verdict.observation import agree, same_fault
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import describe

SEEN = Fault(14, 0x10, b.ENTRY, b.ENTRY, b.ROOT)


def missing_entry() -> Scene:
    scene = healthy()
    scene.unmap(b.KERNEL)
    return scene


def fault_record(**registers: int) -> FaultRecord:
    base = {"vector": 14, "error": 0x10, "cr2": b.ENTRY, "cr3": b.ROOT, "rip": b.ENTRY}
    return FaultRecord(0, "safe-idt", base | registers)


def rules(verdict: Verdict) -> list[str]:
    return [finding.rule for finding in verdict.findings]


def test_a_sound_capture_of_a_kernel_that_ran_is_healthy_and_agrees() -> None:
    scene = healthy()
    scene.boot.summary = (12, 0)
    verdict = analyze(scene.capture())
    assert verdict.status is Status.HEALTHY
    assert verdict.agreement is True
    assert verdict.exit_status == 0


def test_an_exception_of_a_kernel_that_reached_its_summary_is_compared_as_handled() -> None:
    """A kernel that checks its rights provokes the same one often: the last of them is in the log as delivered, and no more."""
    scene = healthy()
    scene.boot.summary = (12, 0)
    verdict = analyze(scene.capture(), LogReport(SEEN, ending=Ending.DELIVERED, records=148, fatal=SEEN, is_routine=True))
    assert (verdict.status, verdict.agreement, verdict.walk) == (Status.HEALTHY, True, None)
    assert verdict.observation is not None and (verdict.observation.ending, verdict.observation.is_routine) == (None, False)


def test_damage_anywhere_forbids_a_clean_verdict() -> None:
    capture = healthy().capture()
    capture.damage.append(Diagnostic("damaged record", 12, 345))
    verdict = analyze(capture)
    assert verdict.status is Status.INCOMPLETE
    assert verdict.exit_status == 2
    assert verdict.diagnostics[0].line == 12


def test_an_incomplete_boot_is_not_healthy() -> None:
    scene = healthy()
    scene.boot.complete = False
    scene.boot.closed = ["loader"]
    verdict = analyze(scene.capture())
    assert verdict.status is Status.INCOMPLETE
    assert rules(verdict) == ["kernel-silent"]
    assert verdict.exit_status == 1


def test_an_incomplete_boot_whose_fault_is_foreseen_is_will_fault() -> None:
    scene = missing_entry()
    scene.boot.complete = False
    scene.boot.closed = ["loader"]
    verdict = analyze(scene.capture())
    assert verdict.status is Status.WILL_FAULT
    assert "kernel-silent" not in rules(verdict)


@pytest.mark.parametrize("scene", [healthy, missing_entry])
@pytest.mark.parametrize("lost", ["cpu", "dump", "plan"])
def test_without_what_a_prediction_needs_the_verdict_is_incomplete(lost: str, scene: Callable[[], Scene]) -> None:
    capture = scene().capture()
    boot = capture.boots[0]
    if lost == "cpu":
        del boot.cpus["handoff"]
    elif lost == "dump":
        del boot.dumps["new"]
    else:
        boot.plan.clear()
    verdict = analyze(capture)
    assert verdict.status is Status.INCOMPLETE
    assert verdict.exit_status == 2
    assert "nothing can be predicted" in verdict.diagnostics[-1].message


def test_a_rule_is_asked_only_where_what_it_needs_is_there() -> None:
    capture = healthy().capture()
    capture.boots[0].cpus["handoff"].registers["cr3"] |= 0x18  # PCD and PWT
    needy = {rule.id for rule in RULES if rule.needs}
    assert set(rules(analyze(capture))) & needy == {"cr3-flags"}
    capture.boots[0].plan.clear()
    assert not set(rules(analyze(capture))) & needy
    blind = Context(capture.boots[0], Intent(capture.boots[0]), None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="needs"):
        blind.tables  # noqa: B018


def test_a_capture_without_a_boot_is_incomplete() -> None:
    verdict = analyze(Capture())
    assert (verdict.status, verdict.exit_status) == (Status.INCOMPLETE, 2)


def test_a_refused_boot_is_incomplete_with_the_reason_as_an_error() -> None:
    boot = Boot(errors=[("config", "unknown key `foo`", 0)])
    verdict = analyze(Capture(boots=[boot]))
    assert verdict.status is Status.INCOMPLETE
    assert rules(verdict) == ["loader-refused"]
    assert verdict.exit_status == 1


def test_a_fault_record_that_was_foreseen_is_faulted_and_agrees() -> None:
    scene = missing_entry()
    scene.boot.faults.append(fault_record())
    verdict = analyze(scene.capture())
    assert verdict.status is Status.FAULTED
    assert verdict.agreement is True
    assert verdict.observation == Observation(
        Ending.HANDLED, SEEN, 1, "fault record (safe-idt)"
    )


@pytest.mark.parametrize(
    "different", [{"vector": 13}, {"error": 0x11}, {"cr2": 0x1000}, {"rip": 0x1000}]
)
def test_a_fault_record_that_differs_is_said_aloud(different: dict[str, int]) -> None:
    scene = missing_entry()
    scene.boot.faults.append(fault_record(**different))
    verdict = analyze(scene.capture())
    assert verdict.agreement is False
    assert "unexplained-fault" in rules(verdict)


def test_a_fault_where_none_was_foreseen_is_an_error() -> None:
    scene = healthy()
    scene.boot.faults.append(fault_record())
    verdict = analyze(scene.capture())
    assert verdict.status is Status.FAULTED
    assert verdict.exit_status == 1
    assert rules(verdict) == ["unexplained-fault"]


def test_a_foreseen_fault_that_did_not_come_is_said_aloud() -> None:
    scene = missing_entry()
    scene.boot.summary = (12, 0)
    verdict = analyze(scene.capture())
    assert verdict.agreement is False
    assert "unexplained-fault" in rules(verdict)
    assert verdict.exit_status == 1


def test_the_boot_that_dies_is_judged_and_its_restart_is_told() -> None:
    broken, sound = missing_entry(), healthy()
    broken.boot.complete = False
    broken.boot.closed = ["loader"]
    capture = Capture(boots=[broken.capture().boots[0], sound.capture().boots[0]])
    verdict = analyze(capture)
    assert chosen_boot(capture) is sound.boot
    assert verdict.status is Status.WILL_FAULT
    assert rules(verdict) == ["code-unmapped", "restarted"]
    assert verdict.exit_status == 1


def test_a_boot_that_only_began_does_not_hide_the_one_that_says_why_it_gave_up() -> None:
    """Firmware without a shell boots the loader once more when it comes back, and the machine is stopped then."""
    refused = Boot(errors=[("initrd", "not a cpio archive", 0)])
    began = Boot(config={"safe_idt": "on"})
    verdict = analyze(Capture(boots=[refused, began], damage=[Diagnostic("damaged record: the capture ends in it")]))
    assert rules(verdict) == ["loader-refused"]
    assert verdict.status is Status.INCOMPLETE
    cut = Boot(plan=healthy().boot.plan)
    assert chosen_boot(Capture(boots=[refused, cut])) is refused
    died = Boot(faults=[fault_record()])
    assert chosen_boot(Capture(boots=[refused, died])) is died


def test_a_machine_that_resets_over_and_over_is_told() -> None:
    boots = []
    for _ in range(3):
        scene = missing_entry()
        scene.boot.complete = False
        scene.boot.closed = ["loader"]
        boots.append(scene.capture().boots[0])
    verdict = analyze(Capture(boots=boots))
    assert rules(verdict)[0] == "code-unmapped"
    restarted = next(f for f in verdict.findings if f.rule == "restarted")
    assert "2 times" in title(restarted)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (SEEN, True),
        (Fault(14, 0x10, b.ENTRY, None), True),
        (Fault(14, None, b.ENTRY, b.ENTRY), True),
        (Fault(13, 0x10, b.ENTRY, b.ENTRY), False),
        (Fault(14, 0x11, b.ENTRY, b.ENTRY), False),
        (Fault(14, 0x10, b.ENTRY + 1, b.ENTRY), False),
        (Fault(14, 0x10, b.ENTRY, b.ENTRY + 1), False),
    ],
)
def test_faults_are_compared_where_both_are_known(other: Fault, same: bool) -> None:
    assert same_fault(SEEN, other) is same


def test_rsvd_may_come_without_p_but_p_alone_may_not_differ() -> None:
    assert same_fault(Fault(14, 0x19, 1, 1), Fault(14, 0x18, 1, 1))
    assert not same_fault(Fault(14, 0x11, 1, 1), Fault(14, 0x10, 1, 1))


def test_cr2_counts_for_page_faults_only() -> None:
    assert same_fault(Fault(13, 0, 66, 5), Fault(13, 0, 77, 5))


def test_nothing_is_compared_where_one_side_is_missing() -> None:
    assert agree(None, Observation(None)) is None
    assert agree(Prediction(True), None) is None
    assert agree(Prediction(False, first=SEEN), Observation(Ending.HANG)) is None


def test_every_finding_is_a_whole_sentence_with_a_fix(tmp_path: Path) -> None:
    scene = missing_entry()
    scene.unmap(b.INFO)
    for finding in analyze(scene.capture()).findings:
        assert isinstance(finding, Finding)
        assert title(finding) and detail(finding) and fix(finding).endswith(".")


def test_a_boot_that_preflight_stopped_is_judged_by_its_evidence() -> None:
    scene = missing_entry()
    scene.boot.errors = [("preflight", "step 2 will fault", 0)]
    scene.boot.complete = False
    verdict = analyze(scene.capture())
    assert verdict.status is Status.WILL_FAULT
    assert rules(verdict) == ["code-unmapped", "loader-refused"]


@pytest.mark.parametrize(
    ("seen", "told", "any_version"),
    [
        (6 * 8 + 2, True, True), (6 * 16 + 2, False, True), (3 * 8 + 2, False, False), (6 * 8 + 3, True, True),
        (7 * 8 + 2, False, False), (6 * 8 + 2 + 4, False, False),
    ],
)  # fmt: skip
def test_a_gate_is_the_foreseen_one_in_the_form_of_the_qemu_that_ran(seen: int, told: bool, any_version: bool) -> None:
    foreseen, other = Fault(13, 6 * 8 + 2, None, 5), Fault(13, seen, None, 5)
    assert (same_fault(foreseen, other), same_fault(foreseen, other, any_version=True)) == (told, any_version)


def test_a_gates_number_is_told_in_both_forms_where_it_may_be_either() -> None:
    assert describe(13, 12 * 8 + 2).endswith("gate 12 of the IDT, or 6 with QEMU before 8.0)")
    assert describe(13, 13 * 8 + 2).endswith("gate 13 of the IDT)")


def killed(selector: int) -> LogReport:
    """What a log says of a #GP with this selector, under a GDT of three entries, after which it is silent."""
    record = InterruptRecord(0, 0, 13, selector, RegisterDump(rip=0x1234, cr0=0x8000_0011, gdt=(0x7_2000, 0x17)))
    return LogReport(record.fault, ending=Ending.DELIVERED, records=1, fatal=record.fault, events=(Happened(record),), dump=record.cpu)


def test_what_the_log_shows_is_told_where_the_capture_explains_nothing() -> None:
    assert rules(analyze(healthy().capture(), killed(0x58))) == ["unexplained-fault", "gdt-not-loaded"]
    assert rules(analyze(healthy().capture(), killed(0x10))) == ["unexplained-fault"]


def test_where_the_capture_explains_it_the_log_adds_nothing() -> None:
    found = rules(analyze(missing_entry().capture(), killed(0x58)))
    assert len(found) > 1 and "gdt-not-loaded" not in found
