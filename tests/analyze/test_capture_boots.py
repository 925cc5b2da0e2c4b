"""Captures of several boots: the worst counts, and every boot has its line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import boot_builder as b
import pytest
from boot_builder import healthy

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Boot, Capture, FaultRecord
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.switched import Switch
from cr3scope.render.message import plain
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
HEALTHY = (CAPTURES / "healthy.serial.log").read_bytes()
NX = (CAPTURES / "nx-upper-level.serial.log").read_bytes()
BEGAN = HEALTHY[: HEALTHY.index(b"@c3s1 1 ")]
BEFORE_ITS_SWITCH = HEALTHY[: HEALTHY.index(b" plan step=2")].rsplit(b"\n", 1)[0] + b"\n"


def lines(verdict: Verdict) -> list[str]:
    return [plain(said.message) for said in verdict.diagnostics]


def well() -> Boot:
    scene = healthy()
    scene.boot.summary = (1, 0)
    return scene.capture().boots[0]


def dead(seen: bool = True) -> Boot:
    """A boot that dies at its kernel's entry; ``seen``: and says so."""
    scene = healthy()
    scene.unmap(b.ENTRY & -b.PAGE)
    scene.boot.complete, scene.boot.closed = False, ["loader"]
    if seen:
        at = {"vector": 14, "error": 0x10, "cr2": b.ENTRY, "rip": b.ENTRY, "cr3": b.ROOT}
        scene.boot.faults.append(FaultRecord(0, "safe-idt", at))
    return scene.capture().boots[0]


def judged(*boots: Boot, log: LogReport | None = None) -> Verdict:
    return analyze(Capture(boots=list(boots)), log)


@pytest.mark.parametrize(
    ("boots", "status", "said"),
    [
        ([well, well], Status.HEALTHY, ["boots 1 to 2 of 2: healthy"]),
        ([well, dead], Status.FAULTED, ["number 2", "boot 1 of 2: healthy", "boot 2 of 2: faulted"]),
        ([dead, well], Status.FAULTED, ["number 1", "boot 1 of 2: faulted", "boot 2 of 2: healthy"]),
        ([dead, well, dead, well], Status.FAULTED, ["of 4 boots that the capture tells of, this is number 3"]),
        ([well, lambda: dead(False)], Status.WILL_FAULT, ["number 2", "boot 2 of 2: will fault"]),
        ([well, Boot], Status.INCOMPLETE, ["boot 2 of 2: it ends before its switch", "boot 1 of 2: healthy"]),
        ([Boot, well], Status.INCOMPLETE, ["boot 1 of 2: it ends before its switch", "boot 2 of 2: healthy"]),
        ([dead, Boot], Status.FAULTED, ["this is number 1", "boot 2 of 2: it ends before its switch"]),
        (
            [lambda: Boot(errors=[("initrd.img", "no kernel.elf", 0)]), well],
            Status.INCOMPLETE,
            ["boot 1 of 2: the loader gave up (initrd.img)"],
        ),
    ],
)
def test_the_worst_boot_counts_and_each_has_its_line(boots: Sequence[type[Boot]], status: Status, said: list[str]) -> None:
    verdict = judged(*(make() for make in boots))
    assert verdict.status is status
    told = "\n".join(lines(verdict))
    assert all(words in told for words in said), told
    assert (verdict.exit_status == 0) == (status is Status.HEALTHY)


@pytest.mark.parametrize("rest", [NX, BEGAN, BEFORE_ITS_SWITCH])
@pytest.mark.parametrize("is_first", [True, False])
def test_no_other_boot_hides_behind_a_healthy_one(rest: bytes, is_first: bool) -> None:
    data = rest + b"\r\nBdsDxe: loading\r\n" + HEALTHY if is_first else HEALTHY + rest
    verdict = analyze(read_capture(data))
    assert verdict.status is (Status.WILL_FAULT if rest is NX else Status.INCOMPLETE)
    assert verdict.exit_status != 0


def test_what_a_boot_lacks_heads_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "capture.log"
    file.write_bytes(HEALTHY + BEGAN)
    assert main(["analyze", str(file)]) == 2
    assert capsys.readouterr().out.startswith("INCOMPLETE: boot 2 of 2: it ends before its switch\n")


def test_json_tells_what_each_boot_came_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "capture.log"
    file.write_bytes(HEALTHY + NX + BEGAN)
    assert main(["analyze", str(file), "--json", "-"]) == 1
    assert json.loads(capsys.readouterr().out)["boots"] == [
        {"number": 1, "status": "healthy", "rule": None, "words": "healthy"},
        {"number": 2, "status": "will-fault", "rule": "nx-upper-level", "words": "will fault"},
        {"number": 3, "status": "incomplete", "rule": None, "words": "it ends before its switch"},
    ]
    file.write_bytes(HEALTHY)
    assert main(["analyze", str(file), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["boots"] == [
        {"number": 1, "status": "healthy", "rule": None, "words": "healthy"}
    ]


def report(cr3: int = b.ROOT, boots: int = 1) -> LogReport:
    first = Fault(14, 0x10, b.ENTRY, b.ENTRY, cr3)
    return LogReport(first, ending=Ending.TRIPLE_FAULT, records=1, switch=Switch(cr3, None, 0), boots=boots)


@pytest.mark.parametrize("boots", [[lambda: dead(False), well], [well, lambda: dead(False)]])
def test_a_death_in_the_log_is_that_of_the_boot_that_was_not_heard_of_again(boots: Sequence[type[Boot]]) -> None:
    made = [make() for make in boots]
    number = 1 + [boot.complete for boot in made].index(False)
    verdict = judged(*made, log=report())
    assert verdict.status is Status.FAULTED and verdict.agreement is True
    told = lines(verdict)
    assert f"of 2 boots that the capture tells of, this is number {number}" in told
    assert f"boot {3 - number} of 2: healthy" in told
    assert any(f"its death is taken for that of number {number}" in words for words in told)


def test_a_log_that_tells_of_as_many_boots_is_held_beside_each(tmp_path: Path) -> None:
    asked: list[int] = []

    def reports(boots: Sequence[Boot]) -> list[LogReport]:
        asked.append(len(boots))
        return [report(), LogReport()]

    verdict = analyze(Capture(boots=[dead(False), well()]), reports)
    assert asked == [2] and verdict.status is Status.FAULTED
    assert "boot 2 of 2: healthy" in lines(verdict)
    assert not any("is taken for" in words for words in lines(verdict))


@pytest.mark.slow
def test_no_more_boots_are_judged_than_the_budget_says_and_the_answer_says_so() -> None:
    most = limits.CAPTURE_JUDGED_BOOTS
    verdict = judged(*(well() for _ in range(most + 3)))
    assert verdict.status is Status.INCOMPLETE
    assert lines(verdict)[0].startswith(f"3 boots were not judged: of one capture {most} are")
    assert judged(dead(), *(well() for _ in range(most + 3))).status is Status.FAULTED
