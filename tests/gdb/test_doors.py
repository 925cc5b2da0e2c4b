"""One fault has one diagnosis, whatever the evidence: each row of the fault table through every door.

The doors: the capture of a finished boot; the same boot stopped right before `mov cr3` in gdb, asked with `check`;
that machine saved as a core; and the same volume under `cr3scope run` with a loader that traces nothing.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from boot.fault_rows import AFTERMATH, FORMS, OF_THE_KERNEL, OTHER_CPUS, Row, machine_of, of_row, rows
from boot.reference import Run, sample
from boot.shared_run import shared_run
from boot.snapshot import at_loader, boot_from_snapshot
from boot.verbs import cr3scope
from cr3scope.input.capture.reader import read_capture
from cr3scope.x86.exceptions import name
from gdb_session import session, unwrapped

SAMPLE, SAMPLE_OF_ALL = 20, 4  # of how many rows `make test` takes one, and with CR3SCOPE_TEST_ALL; `make test-doors` takes all
EVERY_ROW = "CR3SCOPE_TEST_DOORS"
UNREHEARSED = "safe_idt=on"  # a rehearsal loads CR3 for each step: who traces nothing makes none, and gdb would stop in it


@dataclass(frozen=True, slots=True)
class Weaker:
    """What a door says instead, and why it cannot know better."""

    rule: str
    why: str


_BEHIND = "it comes behind the plan, and behind what the code there tells"
_ASTRAY = "from where other bytes are executed than were meant nothing is predicted"
_REFUSED = "the code's #GP is told, which QEMU's TCG does not raise"
_CALLS = "only a trace tells what the loader called, and when"
_LAST = "only a trace tells which call mapped the page last"
_MADE = "only a trace tells for which entry a table was made"
_WRITTEN = "only a trace tells with which rights the slot was written first"
_EVERY = "only a trace tells of every mapping: the boot info does not say what else a loader may map"
_PAT = "QEMU tells nobody the PAT, and so no memory type"
_GONE = "QEMU leaves at once when the kernel ends it, and no exception tells who loaded what"
_FOR_RUN = {
    "stale-map-key": ("", _CALLS),
    "use-after-exit": ("", _CALLS),
    "shared-page-permissions": ("nx-leaf-code", _LAST),
    "table-shared": ("reserved-bits", _MADE),
    "recursive-slot:readonly": ("", _WRITTEN),
    "mapping-unasked": ("", _EVERY),
    "reserved-bits:gigapage": ("", _EVERY),
    "tables-not-zeroed": ("", _EVERY),
    "framebuffer-cached": ("", _PAT),
    "pat-misread": ("", _PAT),
    "ap-shared-tss:copied": ("", _GONE),
}
AT_SWITCH = ("check", "core")
_ROWS_A_WEAKER_ONE = 10  # so many rows at least for each that a door tells otherwise
WEAKER: dict[tuple[str, str], Weaker] = {
    **{(row, door): Weaker("", _BEHIND) for row in ("hang-hlt", "hang-loop") for door in AT_SWITCH},
    **{(row, door): Weaker("", _BEHIND) for row in ("ap-shared-tss", "ap-shared-tss:copied") for door in AT_SWITCH},
    ("cr3-high-bits", "check"): Weaker("cr3-high-bits", _REFUSED),
    ("wrong-frame", "core"): Weaker("wrong-frame", _ASTRAY),
    **{("overlapping-image", door): Weaker("overlapping-image", _ASTRAY) for door in AT_SWITCH},
    **{(row, "run"): Weaker(rule, why) for row, (rule, why) in _FOR_RUN.items()},
}

# Another boot, without a trace: it executes what other calls have left on the stack, and dies of that in another way, or runs in circles.
BY_CHANCE = frozenset({("overlapping-image", "run")})


@pytest.mark.parametrize("door", (*AT_SWITCH, "run"))
def test_each_door_is_weaker_for_few_rows(door: str) -> None:
    assert len([row for row, of in WEAKER if of == door]) <= len(rows()) // _ROWS_A_WEAKER_ONE
    assert {row for row, _ in WEAKER} <= {row.inject for row in rows()}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a door says first: the rule, the entry that it blames, and the exception."""

    rule: str
    entry: str
    exception: tuple[int, int | None] | None


def taken() -> list[Row]:
    # At the switch none of the other CPUs runs: what the loader gets wrong of them a trace alone tells.
    chosen = [row for row in rows() if not row.inject.startswith(OTHER_CPUS) or row.rule == OF_THE_KERNEL]
    if os.environ.get(EVERY_ROW) == "1":
        return chosen
    return sample(chosen[::SAMPLE_OF_ALL], SAMPLE // SAMPLE_OF_ALL)


@pytest.mark.parametrize("row", taken(), ids=lambda row: row.inject)
def test_every_door_names_the_same_cause(row: Row, tmp_path: Path) -> None:
    run = shared_run(**of_row(row, "safe"))
    captured = diagnosis(run.verdict)
    for door, told in by_door(tmp_path, row, run).items():
        weaker = WEAKER.get((row.inject, door))
        if weaker is None:
            expected = replace(captured, exception=told.exception) if (row.inject, door) in BY_CHANCE else captured
            assert told == expected, (door, run.explain())
        else:
            assert told.rule == weaker.rule, (door, weaker)
            assert told != captured, f"{door} is no weaker any more: {weaker}"


@pytest.mark.parametrize("cpus", ["1", "2"])
@pytest.mark.parametrize("form", FORMS)
def test_a_healthy_boot_without_a_trace_has_nothing_to_find(form: str, cpus: str, tmp_path: Path) -> None:
    """What the boot info does not tell is no reason to find anything."""
    run = boot_from_snapshot(tmp_path, config=f"{FORMS[form]};sinks=file", CPUS=cpus)
    assert diagnosis(run.verdict) == Diagnosis("", "", None), run.explain()
    assert run.verdict["verdict"] == "healthy", run.explain()


def by_door(folder: Path, row: Row, run: Run) -> dict[str, Diagnosis]:
    """What the other doors say of the boot of which ``run`` is the capture."""
    machine = machine_of(row)
    # A trace promises that the kernel goes on; without one its user does.
    options = ("--expect", "the kernel is done") if row.shows == "hang" else ()
    untraced = boot_from_snapshot(
        folder / "untraced", inject=row.inject, config=f"{UNREHEARSED};sinks=file", options=options, **machine
    )
    told = {"run": diagnosis(untraced.verdict)}
    if row.shows != "early":  # there is no switch
        text, core = at_switch(folder / "gdb", row, run)
        told["check"] = diagnosis_of_text(text)
        told["core"] = diagnosis(core)
    return told


def at_switch(folder: Path, row: Row, run: Run) -> tuple[str, dict[str, Any]]:
    """What `check` prints right before the switch, and the verdict on the core that `save` writes there."""
    command, snapshot = at_loader(folder, inject=row.inject, config=UNREHEARSED, **machine_of(row))
    serial, core = folder / "serial.log", folder / "saved.core"
    base = read_capture(run.serial).boots[-1].images[0].base
    commands = f"""
set confirm off
add-symbol-file {snapshot.folder}/loader.elf -o {base:#x}
hbreak *&switch_mov_cr3
continue
cr3scope trace "{serial}"
echo -- check --\\n
cr3scope check
echo -- end --\\n
cr3scope save "{core}"
"""
    text = session(folder, [*command, "-serial", f"file:{serial}"], commands, snapshot.state)
    assert "-- end --" in text and core.exists(), text
    elfs = [word for name in ("loader.elf", "kernel.elf") for word in ("--elf", snapshot.folder / name)]
    done = cr3scope("analyze", core, "--json", "-", *elfs)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    checked = text.split("-- check --")[1].split("-- end --")[0]
    assert_lines_are_quoted(checked, verdict)
    return unwrapped(checked), verdict


def assert_lines_are_quoted(checked: str, verdict: dict[str, Any]) -> None:
    """`check` prints below each place of the source the text that `analyze` has of it."""
    texts = {one["source"]: one["source_text"] for one in verdict["findings"] if one["source"]}
    quoted = re.findall(r"^  source (\S+:\d+)\n +(.*)$", checked, re.MULTILINE)
    loud = {one["source"] for one in verdict["findings"] if one["source"] and one["severity"] != "note"}
    assert loud <= {source for source, _ in quoted}, checked
    for source, below in quoted:
        if source in texts:
            number = source.rpartition(":")[2]
            whole = below.removesuffix("..")  # a long one is cut to the screen's width
            assert texts[source] and f"{number} | {texts[source].removesuffix('..')}".startswith(whole), checked


def diagnosis(verdict: dict[str, Any]) -> Diagnosis:
    """The first error, else the first warning, of what is wrong with the switch."""
    loud = [
        one for severity in ("error", "warning") for one in verdict["findings"]
        if one["severity"] == severity and one["rule"] not in AFTERMATH
    ]  # fmt: skip
    if not loud:
        return Diagnosis("", "", None)
    entry = loud[0]["entry"]
    observed = verdict["observation"] or {}
    # What a guest that ran has handled is nobody's fault: the kernel's own checks raise exceptions.
    seen = (observed.get("first") if observed.get("outcome") != "ran" else None) or verdict["prediction"] or {}
    return Diagnosis(
        loud[0]["rule"],
        entry["phys"] if entry else "",
        None if seen.get("vector") is None else (seen["vector"], seen["error_code"]),
    )


def diagnosis_of_text(text: str) -> Diagnosis:
    """The same of what `check` prints."""
    rule = re.search(r"^rule: ([a-z0-9-]+):", text, re.MULTILINE)
    first = text[rule.start() :].split("\nrule: ")[0] if rule else ""
    entry = re.match(r"rule: .*\n  entry  .*? at (0x[0-9a-f]+) =", first)
    raised = re.search(r"^verdict: faults .*?: (#[A-Z]+)(?: \(error ([0-9a-f]+))?", text, re.MULTILINE)
    exception = None
    if raised:
        vector = next(number for number in range(32) if name(number) == raised[1])
        exception = vector, None if raised[2] is None else int(raised[2], 16)
    return Diagnosis(rule[1] if rule else "", entry[1] if entry else "", exception)
