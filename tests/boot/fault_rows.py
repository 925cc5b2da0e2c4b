"""The rows of the loader's fault table, booted in their forms and judged.

What must hold of a row depends on how its fault shows on TCG; there is one small function for each.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from boot.reference import Run, make
from boot.snapshot import boot_from_snapshot
from cr3scope.errors import UnusableInput
from cr3scope.input.capture.reader import read_capture
from cr3scope.render.json import as_dict
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.exceptions import name as exception_name

FORMS = {
    "safe": "safe_idt=on;rehearse=on",
    "kept": "safe_idt=off",
    "full/safe": "identity=full;safe_idt=on;rehearse=on",
    "full/kept": "identity=full;safe_idt=off",
}

# Settings of QEMU without which a fault would be none.
MACHINES = {"gigapage-unsupported": {"CPU": "Nehalem"}, "ap-cr3-truncated": {"CPUS": "2", "MEM": "6G"}}
OTHER_CPUS, TWO_CPUS = "ap-", {"CPUS": "2"}  # of a fault's name, and what it needs


@dataclass(frozen=True, slots=True)
class Otherwise:
    """A row that in some form shows in another way, or that another rule rightly names first."""

    why: str
    shows: str
    rule: str | None = None  # None: the row's own; "": nothing is wrong in this form


_LOW = Otherwise("address 0 is mapped: the kernel reads its boot info there", "mute")
_SLIDE = Otherwise("a slide from 0 into the memory of the VGA", "untold")
_LEFT_OVER = Otherwise("whatever the firmware left at 401000h runs", "diverges")
_AFTER_ITS_END = Otherwise("the firmware's timer handler runs, after its end", "untold")
_NO_IDT = "the firmware's IDT is in use, and is not mapped"
_OTHER_IDT = "only the loader's own IDT has this fault, and the firmware's is in use"

OTHERWISE = {
    ("abi-mismatch", "full/safe"): _LOW,
    ("abi-mismatch", "full/kept"): _LOW,
    ("wrong-entry:zero", "full/safe"): _SLIDE,
    ("wrong-entry:zero", "full/kept"): _SLIDE,
    ("wrong-entry:default", "full/safe"): _LEFT_OVER,
    ("wrong-entry:default", "full/kept"): _LEFT_OVER,
    ("missing-cli", "full/kept"): _AFTER_ITS_END,
    ("gdt-unmapped", "kept"): Otherwise(_NO_IDT, "runs", ""),
    ("gdt-unmapped:int3", "kept"): Otherwise(_NO_IDT, "fault", "idt-unmapped"),
    ("handler-unmapped", "kept"): Otherwise(_NO_IDT, "runs", ""),
    ("handler-unmapped:int3", "kept"): Otherwise(_NO_IDT, "fault", "idt-unmapped"),
    ("handler-unmapped:nx", "kept"): Otherwise(_NO_IDT, "fault", "idt-unmapped"),
    ("selector-mismatch", "kept"): Otherwise(_NO_IDT, "fault", "idt-unmapped"),
    ("idt-unmapped", "full/kept"): Otherwise(_OTHER_IDT, "runs", ""),
    ("idt-unmapped:int3", "full/kept"): Otherwise(_OTHER_IDT, "untold", ""),
    ("handler-unmapped", "full/kept"): Otherwise(_OTHER_IDT, "runs", ""),
    ("handler-unmapped:int3", "full/kept"): Otherwise(_OTHER_IDT, "untold", ""),
    ("handler-unmapped:nx", "full/kept"): Otherwise(_OTHER_IDT, "untold", ""),
    ("selector-mismatch", "full/kept"): Otherwise(_OTHER_IDT, "untold", ""),
}

# Findings about what the machine did or, in a trace that ends before the switch, did not do yet.
AFTERMATH = {"kernel-check-failed", "unexplained-fault", "kernel-silent"}

# What the kernel itself does wrong, long after the switch: nothing tells it before.
OF_THE_KERNEL = "ap-shared-tss"

# The first records of whoever has the machine after the switch.
AFTER_THE_SWITCH = (b" section producer=kernel ", b" fault ")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the fault table, as list_faults prints it."""

    inject: str
    description: str
    rule: str
    outcome: str
    shows: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one row in one form: a line of the table. ``failures`` is empty if all is well."""

    row: Row
    form: str
    named: str  # before the switch by the right rule: yes; after, no; `-` where nothing is wrong
    predicted: str
    observed: str
    agreement: bool | None
    failures: tuple[str, ...]


Verdict = dict[str, Any]


@cache
def rows() -> tuple[Row, ...]:
    """Every row of the fault table."""
    program = make("host/list_faults")
    listed = subprocess.run([program], capture_output=True, text=True, check=True)
    return tuple(Row(*line.split("\t")) for line in listed.stdout.splitlines())


def boot_row(folder: Path, row: Row, form: str) -> Judged:
    """Boots a row and judges it."""
    return judge(row, form, boot_from_snapshot(folder, **of_row(row, form)))


def of_row(row: Row, form: str) -> dict[str, str]:
    """Return the words for such a boot."""
    return {"inject": row.inject, "config": FORMS[form], **machine_of(row)}


def machine_of(row: Row) -> dict[str, str]:
    """Return the settings that a row needs beside its fault."""
    return MACHINES.get(row.inject, TWO_CPUS if row.inject.startswith(OTHER_CPUS) else {})


def judge(row: Row, form: str, run: Run) -> Judged:
    """All that must hold of a boot with this row's fault."""
    verdict = run.verdict
    rule, shows = expected(row, form)
    foretold = before_the_switch(run)
    before = first_rule(foretold, rule) if foretold else ""
    at_the_end = first_rule(verdict, rule)
    failures = [*_misnamed(rule, shows, before, at_the_end), *JUDGES[shows](verdict), *_unwalked(verdict), *_invented(run), *_rehearsed(verdict, form)]
    return Judged(
        row,
        form,
        _named(rule, before, at_the_end),
        predicted_words(verdict["prediction"]),
        observed_words(verdict["observation"]),
        verdict["agreement"],
        tuple(failures),
    )


def _unwalked(verdict: Verdict) -> list[str]:
    """What is missing of the walk of a page fault that was foreseen and seen, in the tables that refused it."""
    seen, prediction, walk = verdict["observation"], verdict["prediction"], verdict["walk"]
    if not (seen and prediction and verdict["agreement"]) or seen["outcome"] == "ran" or prediction["vector"] != 14:
        return []
    if walk is None:
        return ["no walk of the page fault"]
    right = walk["refused"] is not None and any(level["guilty"] for level in walk["levels"])
    return [] if right or not walk["levels"] else [f"the walk refuses nothing: {walk}"]


# What the loader says of a rehearsal that it does not make.
_NOT_MADE = ("the root is of no use", "the CPU itself refuses the planned cr0, cr4, efer or cr3")


def _rehearsed(verdict: Verdict, form: str) -> Iterator[str]:
    """What is wrong with the rehearsal: the CPU itself says before the switch what the model says, and what then comes."""
    told = verdict["rehearsal"]
    if "rehearse=on" not in FORMS[form] or verdict["prediction"] is None:
        return
    if told is None:
        yield "no rehearsal"
    elif told["state"] == "refused":
        if not told["why"].startswith(_NOT_MADE):
            yield f"no rehearsal was made: {told['why']}"
    elif told["state"] != "whole" or told["agreement"] is not True:
        yield f"the rehearsal does not agree with the model: {told}"


def _invented(run: Run) -> list[str]:
    """Entries that a finding names and that lie in no table of the capture."""
    try:
        boots = read_capture(run.serial).boots
    except UnusableInput:
        return []
    tables = {page: entries for boot in boots for dump in boot.dumps.values() for page, entries in dump.tables.items()}
    named = [finding["entry"] for finding in run.verdict["findings"] if finding["entry"]]
    return [f"no table holds {entry}" for entry in named if int(entry["phys"], 16) & -4096 not in tables]


def expected(row: Row, form: str) -> tuple[str, str]:
    """The rule that must come first, and how the fault shows: a key of JUDGES."""
    other = OTHERWISE.get((row.inject, form))
    if other is None:
        return row.rule, row.shows
    return (row.rule if other.rule is None else other.rule), other.shows


def before_the_switch(run: Run) -> Verdict | None:
    """The verdict on what had been traced when the machine was about to switch; None without a trace."""
    lines = run.serial.splitlines(keepends=True)
    after = (n for n, line in enumerate(lines) if any(sign in line for sign in AFTER_THE_SWITCH))
    try:
        capture = read_capture(b"".join(lines[: next(after, len(lines))]))
    except UnusableInput:
        return None
    return as_dict(analyze(capture))


def first_rule(verdict: Verdict, expected_rule: str) -> str:
    """The rule of the first error, else of the first warning. Where there is neither, the expected rule
    if a note has it: notes have no order."""
    findings = [f for f in verdict["findings"] if f["rule"] not in AFTERMATH]
    for severity in ("error", "warning"):
        for finding in findings:
            if finding["severity"] == severity:
                return str(finding["rule"])
    return expected_rule if expected_rule in {f["rule"] for f in findings} else ""


def _named(rule: str, before: str, at_the_end: str) -> str:
    if before == at_the_end == rule:
        return "yes" if rule else "-"
    return "after" if at_the_end == rule else "no"


def _misnamed(rule: str, shows: str, before: str, at_the_end: str) -> Iterator[str]:
    """Before the switch, unless the fault strikes earlier or the switch has nothing to do with it."""
    if at_the_end != rule:
        yield f"first finding: {at_the_end or 'none'}, expected {rule or 'none'}"
    elif shows not in ("early", "hang") and rule != OF_THE_KERNEL and before != rule:
        yield f"first finding before the switch: {before or 'none'}, expected {rule or 'none'}"


def _differ(what: str, value: object, expected: Iterable[object]) -> Iterator[str]:
    allowed = tuple(expected)
    if value not in allowed:
        yield f"{what}: {value}, expected {' or '.join(map(str, allowed))}"


def _agrees(verdict: Verdict) -> Iterator[str]:
    if verdict["agreement"] is not True:
        yield (
            f"predicted {predicted_words(verdict['prediction'])},"
            f" observed {observed_words(verdict['observation'])}"
        )


def _survives(verdict: Verdict) -> Iterator[str]:
    prediction = verdict["prediction"] or {}
    yield from _differ("prediction", prediction.get("outcome"), ["survives"])


def shows_fault(verdict: Verdict) -> Iterator[str]:
    """An exception after the switch, predicted to the last detail."""
    yield from _differ("verdict", verdict["verdict"], ["faulted"])
    predicted, seen = verdict["prediction"] or {}, verdict["observation"] or {}
    yield from _differ("prediction", predicted.get("outcome"), ["fault"])
    first = seen.get("first") or {}
    for field in ("vector", "error_code", "cr2", "rip"):
        expected = predicted.get(field)
        yield from _differ(f"observed {field}", first.get(field), [expected])
    yield from _differ("how it ends", seen.get("outcome"), [predicted.get("ends")])
    yield from _agrees(verdict)


def shows_check(verdict: Verdict) -> Iterator[str]:
    """The switch survives; the kernel's own checks fail."""
    yield from _differ("verdict", verdict["verdict"], ["faulted"])
    yield from _survives(verdict)
    yield from _agrees(verdict)
    if "kernel-check-failed" not in {f["rule"] for f in verdict["findings"]}:
        yield "no check of the kernel failed"


def shows_runs(verdict: Verdict) -> Iterator[str]:
    """Nothing that TCG shows."""
    yield from _differ("verdict", verdict["verdict"], ["healthy", "will-fault"])
    yield from _survives(verdict)
    yield from _agrees(verdict)


def shows_hang(verdict: Verdict) -> Iterator[str]:
    """The machine never goes on."""
    yield from _differ("verdict", verdict["verdict"], ["hung"])
    if verdict["agreement"] is False:  # None: the plan ends before the hang
        yield from _agrees(verdict)


def shows_early(verdict: Verdict) -> Iterator[str]:
    """It dies before the switch: there is no dump to foresee it from."""
    yield from _differ("verdict", verdict["verdict"], ["faulted"])


def shows_diverges(verdict: Verdict) -> Iterator[str]:
    """The prediction ends where the CPU goes on with other bytes than were meant; that it says."""
    yield from _differ("verdict", verdict["verdict"], ["faulted", "hung"])
    if (verdict["prediction"] or {}).get("diverges") is None:
        yield "the prediction does not say from where on the bytes are others than were meant"
    yield from _agrees(verdict)


def shows_other_cpu(verdict: Verdict) -> Iterator[str]:
    """Another CPU dies: the boot CPU's own plan goes through."""
    yield from _differ("verdict", verdict["verdict"], ["faulted"])
    yield from _survives(verdict)
    if verdict["agreement"] is False:
        yield from _agrees(verdict)


def shows_mute(verdict: Verdict) -> Iterator[str]:
    """The switch survives; the kernel gives up before it can trace anything."""
    yield from _differ("verdict", verdict["verdict"], ["faulted", "incomplete"])
    yield from _survives(verdict)


def shows_untold(_verdict: Verdict) -> Iterator[str]:
    """Code runs that no plan tells of; from a device's memory not even QEMU runs it (its translator
    gives up by an assertion in 7.2). Only the naming is judged."""
    return iter(())


JUDGES: dict[str, Callable[[Verdict], Iterator[str]]] = {
    "fault": shows_fault,
    "check": shows_check,
    "runs": shows_runs,
    "hang": shows_hang,
    "early": shows_early,
    "diverges": shows_diverges,
    "mute": shows_mute,
    "untold": shows_untold,
    "other-cpu": shows_other_cpu,
}


def predicted_words(prediction: Verdict | None) -> str:
    """`#PF 0010 triple-fault`, or `survives`."""
    if prediction is None:
        return "-"
    if prediction["outcome"] != "fault":
        return "diverges" if prediction.get("diverges") is not None else "survives"
    if prediction["vector"] is None:
        return str(prediction["ends"])
    return f"{_exception(prediction)} {prediction['ends']}"


def observed_words(observation: Verdict | None) -> str:
    """The same of what was seen; `ran` if the machine ran."""
    if observation is None:
        return "-"
    if observation["first"] is None:
        return str(observation["outcome"])
    return f"{_exception(observation['first'])} {observation['outcome']}"


def _exception(fault: Verdict) -> str:
    code = fault["error_code"]
    name = exception_name(fault["vector"])
    return name if code is None else f"{name} {code:04x}"
