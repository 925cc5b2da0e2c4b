"""The report for a terminal."""

from __future__ import annotations

import io
import re

import boot_builder as b
import pytest
from boot_builder import Scene, healthy

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.message import Message, message
from cr3scope.render import text
from cr3scope.render.terminal import paint, wants_colour
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending


def report(scene: Scene) -> list[str]:
    return text.render(analyze(scene.capture())).splitlines()


def nx_everywhere() -> Scene:
    scene = healthy()
    for virt in (b.HANDOFF, b.ENTRY, b.STACK_TOP - 8):
        scene.tables.edit(virt, 4, set_bits=b.NX)
    return scene


def test_the_first_line_is_the_answer() -> None:
    assert report(nx_everywhere())[0] == (
        "WILL FAULT: #PF (error 0011: instruction fetch, present) "
        "at the first instruction after mov cr3"
    )


def test_a_healthy_boot_is_one_line() -> None:
    assert report(healthy()) == ["HEALTHY: every step of the plan goes through"]


def test_a_later_step_is_named_in_the_first_line() -> None:
    scene = healthy()
    scene.unmap(b.INFO)
    assert report(scene)[0] == "WILL FAULT: #PF (error 0000: read, not present) at: " + (
        "read of the boot info"
    )


def test_five_faults_fit_on_a_screen_of_100_columns() -> None:
    scene = nx_everywhere()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    scene.unmap(b.INFO)
    scene.tables.put(scene.tables.slot(b.FRAMEBUFFER, 2), 0)
    lines = report(scene)
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 64
    numbers = [m.group(1) for line in lines if (m := re.match(r"(\d)  error ", line))]
    assert numbers == ["1", "2", "3", "4", "5"]


def test_a_finding_shows_entry_source_proof_and_mend() -> None:
    lines = "\n".join(report(nx_everywhere()))
    assert re.search(r"entry +PML4\[0\] at 0x1000000 = 0x8000000001001003", lines)
    assert re.search(r"proof +step 0, fetch after mov cr3", lines)
    assert re.search(r"mend +clear NX \(bit 63\) of PML4\[0\]", lines)


def test_what_the_guest_wrote_cannot_steer_the_terminal() -> None:
    hostile = "name\x1b]0;x\x07\r\nfake\u202e"
    said = message("{name}", name=hostile)
    finding = Finding("access-fault", Severity.ERROR, said, (said, Message(hostile)), said, source=hostile)
    verdict = Verdict(Status.WILL_FAULT, (finding,))
    assert all(c == "\n" or c.isprintable() for c in text.render(verdict))


def test_an_observed_fault_that_was_foreseen_is_said_to_be_so() -> None:
    scene = healthy()
    scene.unmap(b.KERNEL)
    seen = Fault(14, 0x10, b.ENTRY, b.ENTRY, b.ROOT)
    verdict = analyze(scene.capture())
    verdict = Verdict(
        Status.FAULTED,
        verdict.findings,
        verdict.prediction,
        Observation(Ending.HANDLED, seen, 1, "fault record (safe-idt)"),
        True,
    )
    lines = text.render(verdict).splitlines()
    assert lines[0] == (
        "FAULTED: #PF (error 0010: instruction fetch, not present) at: fetch at kernel entry"
    )
    assert "  seen  fault record (safe-idt): handled, as foreseen" in lines


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_first_line_even_with_nothing_else_known(status: Status) -> None:
    first = text.render(Verdict(status)).splitlines()[0]
    assert first.startswith(status.value.upper().replace("-", " ") + ": ")
    assert len(first) > len(status.value) + 2


def test_colour_is_for_terminals_and_no_color_is_honoured() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), {})
    assert not wants_colour(io.StringIO(), {})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})


def test_colour_changes_nothing_but_colour() -> None:
    verdict = analyze(nx_everywhere().capture())
    plain, coloured = text.render(verdict), text.render(verdict, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_without_colour_text_stays_as_it_is() -> None:
    assert paint("x", "error", False) == "x"


def test_damage_is_the_answer_even_where_findings_exist() -> None:
    capture = nx_everywhere().capture()
    capture.damage.append(Diagnostic("1 record is missing before record 0x2f", 48, 4711))
    first = text.render(analyze(capture)).splitlines()[0]
    assert first == "INCOMPLETE: line 48, byte 4711: 1 record is missing before record 0x2f"
