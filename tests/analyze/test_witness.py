"""What a verdict asks for is what whoever reads it can have: no log of QEMU's beside a photo or a real machine's console."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import boot_builder as b
import pytest
from analyze.test_report_page import FAMILIES
from boot_builder import Scene, healthy

from cr3scope.diagnose.witness import Witness
from cr3scope.input.logs.log_report import LogReport
from cr3scope.render import html, json, text
from cr3scope.verdict.analysis import analyze, case_of_capture
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.types import Status, Verdict

LACKING = {
    Witness.PHOTO: r"--log\b|-d int|QEMU\'s log|interrupts\.log|(?<!form)-action|`cr3scope run`|the log\b",
    Witness.CONSOLE: r"--log\b|-d int|QEMU\'s log|interrupts\.log|(?<!form)-action|`cr3scope run`|the log\b",
    Witness.LOG: r"pass [^.]*--log",
    Witness.NOBODY: r"the log tells",
}


def cut(scene: Scene) -> None:
    """Let the trace end with the loader's last record."""
    scene.boot.complete, scene.boot.closed = False, ["loader"]


def seen_by(witness: Witness, scene: Scene, boots: int = 1) -> Verdict:
    capture = scene.capture()
    capture.boots *= boots
    capture.is_photo = witness is Witness.PHOTO
    log = LogReport() if witness is Witness.LOG else None
    return assemble(case_of_capture(capture, log, heard=Witness.CONSOLE if witness is Witness.CONSOLE else None))


def all_that_is_said(verdict: Verdict) -> str:
    page = html.render(verdict)
    page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return "\n".join((text.render(verdict), json.render(verdict), page))


SCENES: dict[str, Callable[[Scene], object]] = {"cut": cut, **FAMILIES, **{f"{name}-cut": (lambda scene, each=each: (each(scene), cut(scene))) for name, each in FAMILIES.items()}}  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize("witness", Witness)
@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_asked_for_that_this_door_does_not_have(name: str, witness: Witness) -> None:
    scene = healthy()
    SCENES[name](scene)
    for boots in (1, 2):
        said = all_that_is_said(seen_by(witness, scene, boots))
        assert not re.search(LACKING[witness], said), re.search(f".{{0,80}}(?:{LACKING[witness]}).{{0,80}}", said)


def test_each_door_says_what_would_tell_more() -> None:
    scene = healthy()
    cut(scene)
    fixes = {one: text.render(seen_by(one, scene)) for one in Witness}
    assert "pass a `-d int,cpu_reset` log with --log" in fixes[Witness.NOBODY]
    assert "The log tells of no death" in fixes[Witness.LOG]
    assert "let the" in fixes[Witness.CONSOLE] and "Keep the safe IDT" in fixes[Witness.CONSOLE]


def test_a_photo_of_before_the_switch_blames_nobody_and_is_no_clean_verdict() -> None:
    scene = healthy()
    cut(scene)
    verdict = seen_by(Witness.PHOTO, scene)
    assert (verdict.status, verdict.findings, verdict.exit_status) == (Status.INCOMPLETE, (), 2)
    first = text.render(verdict).splitlines()[0]
    assert first == "INCOMPLETE: the plan survives in the model; of what came behind the switch the photo tells nothing"
    assert "photograph what the screen shows after the exception" in " ".join(text.render(verdict).split())


def test_a_photo_which_leaves_the_ends_of_sections_out_does_not_say_that_the_boot_ended_before_its_switch() -> None:
    scene = healthy()
    scene.boot.complete, scene.boot.closed = False, []
    assert [one.words for one in seen_by(Witness.NOBODY, scene).boots] == ["it ends before its switch"]
    assert [one.words for one in seen_by(Witness.PHOTO, scene).boots] == ["incomplete"]
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    assert [one.words for one in seen_by(Witness.PHOTO, scene).boots] == ["will fault"]


def test_a_photo_of_a_switch_that_will_fault_says_so_and_nothing_of_the_time_behind_it() -> None:
    scene = healthy()
    cut(scene)
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    verdict = seen_by(Witness.PHOTO, scene)
    assert verdict.status is Status.WILL_FAULT and "of what came behind" not in text.render(verdict)


def test_a_capture_is_no_photo_unless_it_was_read_from_one() -> None:
    scene = healthy()
    cut(scene)
    assert [one.rule for one in analyze(scene.capture()).findings] == ["kernel-silent"]
    assert analyze(replace(scene.capture(), is_photo=True)).findings == ()
