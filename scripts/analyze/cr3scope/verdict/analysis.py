"""What a capture comes to, with the log of the same run if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged import beside, findings_of_log
from cr3scope.diagnose.merge import merged
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.rule import Context, SwitchState
from cr3scope.diagnose.rules.machine import unexplained_fault
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.symbols import LineSource, NoSymbols, Symbols
from cr3scope.input.capture.records import Boot, Capture
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.intent import Intent
from cr3scope.model.plan_prediction import PlanPrediction, predict_plan
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.fault_walk import walk_in_capture
from cr3scope.verdict.observation import agree, is_late_strike, observe
from cr3scope.verdict.places import placed
from cr3scope.verdict.types import FaultWalk, Verdict
from cr3scope.x86.platform import Platform, Version

_PREFLIGHT = "preflight"  # where the loader refused because its own walk foresaw a fault
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def analyze(capture: Capture, log: LogReport | None = None, lines: LineSource | None = None) -> Verdict:
    """Return the verdict on a capture, as `cr3scope analyze` gives one: see :func:`case_of_capture`."""
    texts = lines if isinstance(lines, Symbols) else None
    return assemble(case_of_capture(capture, log, lines), texts)


def case_of_capture(
    capture: Capture,
    log: LogReport | None = None,
    lines: LineSource | None = None,
    qemu: Version | None = None,
    standing: Platform | None = None,
) -> Case:
    """Return what is known of the last boot that can be judged; damage anywhere forbids a clean verdict.

    ``lines``: of the boot's images, None without their files. ``qemu``: the version of the QEMU that wrote
    ``log``; None if nobody told. ``standing``: the platform of a machine that stands before the switch, so that
    nothing can have come of it yet; None of one that went on.
    """
    diagnostics = [*capture.damage, *capture.notes]
    if not capture.boots:
        diagnostics.append(Diagnostic("the capture holds no boot: no `begin` record was found"))
        return Case(circumstances=frozenset({Circumstance.NOTHING_TO_JUDGE}), diagnostics=tuple(diagnostics))
    number = _chosen(capture.boots)
    boot = capture.boots[number]
    if len(capture.boots) > 1:
        words = f"{len(capture.boots)} boots in the capture; judged is number {number + 1}"
        diagnostics.append(Diagnostic(words))

    intent = Intent(boot)
    platform = standing or _platform(log, qemu)
    predicted = predict_plan(boot, intent, platform)
    observation = observe(boot, log)
    prediction = predicted.prediction if predicted else None
    agreement = agree(prediction, observation, boot, any_version=qemu is None)
    if predicted and observation and agreement is False and predicted.prediction.survives:
        agreement = is_late_strike(observation, predicted.strikes)
    context = Context(
        boot=boot,
        intent=intent,
        attribution=Attribution(boot, intent, lines or NoSymbols()),
        restarts=_restarts(capture.boots),
        platform=platform,
        switch=SwitchState(predicted.cpu, predicted.registers, predicted.tables) if predicted else None,
        mended=predicted.mended if predicted else None,
        prediction=prediction,
        observation=observation,
        agreement=agreement,
        is_over=standing is None,
    )
    findings = _with_logged(_findings(context, predicted), observation, log)
    if predicted is None and not boot.errors:
        diagnostics.append(Diagnostic(f"nothing can be predicted: {_missing(boot)}"))
    walk = _walk(context, log)
    if observation is not None and log is not None and isinstance(lines, Symbols) and lines.has_files:
        observation, notes = placed(observation, log, lines)
        diagnostics.extend(notes)
    return Case(
        findings, prediction, observation, agreement, walk,
        circumstances=frozenset(_circumstances(capture, boot, predicted, observation)), diagnostics=tuple(diagnostics),
    )  # fmt: skip


def _walk(context: Context, log: LogReport | None) -> FaultWalk | None:
    """Of what the machine died of; where nothing was seen, of what is foreseen."""
    seen, prediction = context.observation, context.prediction
    fault = prediction.first if prediction and seen is None else None
    if log is not None and log.ending is not None:
        fault = log.fatal or log.first
    return walk_in_capture(context.boot, fault, context.attribution, context.platform)


def _platform(log: LogReport | None, qemu: Version | None) -> Platform:
    """`-d int` is a feature of TCG: a capture that comes with such a log ran there."""
    if log is None:
        return Platform.HARDWARE
    return Platform(qemu) if qemu else Platform.TCG


def chosen_boot(capture: Capture) -> Boot | None:
    """Return the boot that ``analyze`` judges; None if the capture holds none."""
    return capture.boots[_chosen(capture.boots)] if capture.boots else None


def planned_cr3(capture: Capture) -> int | None:
    """Return the CR3 of the switch in the boot that ``analyze`` judges; None if the capture does not tell it."""
    boot = chosen_boot(capture)
    planned = boot.cpus.get("handoff") if boot else None
    return planned.registers.get("cr3") if planned else None


def symbols_of_boot(capture: Capture, elf_files: Sequence[ElfFile]) -> Symbols:
    """Return the ELF twins of the boot that ``analyze`` judges, where its images lie."""
    boot = chosen_boot(capture)
    return Symbols(boot.images if boot else (), elf_files)


def _chosen(boots: Sequence[Boot]) -> int:
    """Return which boot to judge: the last complete one; else the last that closed a section; else the last.

    Firmware without a shell boots once more what came back to it: a boot that only began does not hide one
    that says why it gave up.
    """
    numbers = range(len(boots))
    complete = [number for number in numbers if boots[number].complete]
    closed = [number for number in numbers if boots[number].closed]
    telling = [number for number in numbers if _tells_how_it_went(boots[number])]
    return (complete or closed or telling or list(numbers))[-1]


def _tells_how_it_went(boot: Boot) -> bool:
    """Return whether a boot says that it failed, or holds what a prediction takes."""
    return bool(boot.errors or boot.faults or (boot.plan and "new" in boot.dumps))


def _restarts(boots: Sequence[Boot]) -> int:
    """How often the machine switched, was not heard of again, and began anew."""
    return sum(bool(b.closed) and not b.complete and not b.errors for b in boots[:-1])


def _findings(context: Context, predicted: PlanPrediction | None) -> tuple[Finding, ...]:
    """What strikes, in order; then what else is wrong, the worst first."""
    composed = compose(context, RULES, predicted.strikes if predicted else ())
    struck = [finding for finding in composed if finding.step is not None]
    found = [finding for rule in RULES if context.has(rule.needs) for finding in rule.check(context)]
    untold = [finding for finding in found if not _told(finding, struck)]
    # What a rule finds by itself can stop a step as well: a gate that the CPU cannot use.
    striking = sorted(
        [*struck, *(finding for finding in untold if finding.step is not None)],
        key=lambda finding: finding.step or 0,
    )
    rest = [finding for finding in (*composed, *untold) if finding.step is None]
    rest.sort(key=lambda finding: _ORDER[finding.severity])
    return merged((*striking, *rest))


def _with_logged(found: tuple[Finding, ...], observation: Observation | None, log: LogReport | None) -> tuple[Finding, ...]:
    """What the log alone shows as well, if nothing else explains how the machine ended."""
    explained = any(one.severity is Severity.ERROR and one.rule != unexplained_fault.RULE.id for one in found)
    if explained or log is None or observation is None or observation.ending is None:
        return found
    known = [one for one in found if one.rule != unexplained_fault.RULE.id]
    return (*found, *beside(known, findings_of_log(log)))


def _told(finding: Finding, striking: Sequence[Finding]) -> bool:
    """Whether a finding of the same rule already struck: the plan is the better witness."""
    return any(
        finding.rule == other.rule and (finding.entry is None or finding.entry == other.entry)
        for other in striking
    )


def _missing(boot: Boot) -> str:
    absent: Iterator[str] = (
        words
        for there, words in (
            ("handoff" in boot.cpus, "the `cpu` record of the handoff"),
            ("new" in boot.dumps, "the dump of the new tables"),
            (bool(boot.plan), "the plan"),
        )
        if not there
    )
    return ", ".join(absent) + " is not in the capture"


def _circumstances(
    capture: Capture, boot: Boot, predicted: PlanPrediction | None, observation: Observation | None
) -> Iterator[Circumstance]:
    if observation is not None and observation.is_routine and observation.ending is not None:
        yield Circumstance.ROUTINE
    if capture.damage:
        yield Circumstance.DAMAGED
    if predicted is None:
        yield Circumstance.NOTHING_TO_JUDGE
    if boot.errors:
        refused = any(where == _PREFLIGHT for where, _, _ in boot.errors)
        foreseen = predicted is not None and not predicted.prediction.survives
        yield Circumstance.LOADER_REFUSED if refused and foreseen else Circumstance.LOADER_FAILED
    if not boot.complete:
        yield Circumstance.UNFINISHED
    if boot.summary is not None and boot.summary[1] > 0:
        yield Circumstance.CHECK_FAILED
