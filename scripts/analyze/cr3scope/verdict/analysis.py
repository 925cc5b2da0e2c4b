"""From a capture to a verdict: the one place where all parts of the analyzer meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.rule import Context
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.symbols import LineSource, NoSymbols, Symbols
from cr3scope.input.capture.records import Boot, Capture, ImageRecord
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.observe import LogReport
from cr3scope.model.plan_prediction import PlanPrediction, predict_plan
from cr3scope.model.intent import Intent
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.observation import agree, is_late_strike, observe
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.ending import Ending
from cr3scope.x86.platform import Platform, Version

_PREFLIGHT = "preflight"  # where the loader refused because its own walk foresaw a fault
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}

# The symbols of one boot: images move from boot to boot.
SymbolsOf = Callable[[Sequence[ImageRecord]], LineSource]


def no_symbols(_images: Sequence[ImageRecord]) -> LineSource:
    """Return a line source that knows no lines, for captures without an ELF twin."""
    return NoSymbols()


def analyze(
    capture: Capture,
    log: LogReport | None = None,
    symbols_of: SymbolsOf = no_symbols,
    qemu: Version | None = None,
    standing: Platform | None = None,
) -> Verdict:
    """Judge the last boot that can be judged; damage anywhere forbids a clean verdict.

    ``qemu``: the version of the QEMU that wrote ``log``; None if nobody told. ``standing``: the platform of a
    machine that stands before the switch, so that nothing can have come of it yet; None of one that went on.
    """
    diagnostics = [*capture.damage, *capture.notes]
    if not capture.boots:
        diagnostics.append(Diagnostic("the capture holds no boot: no `begin` record was found"))
        return Verdict(Status.INCOMPLETE, diagnostics=tuple(diagnostics))
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
        attribution=Attribution(boot, intent, symbols_of(boot.images)),
        restarts=_restarts(capture.boots),
        platform=platform,
        cpu=predicted.cpu if predicted else None,
        registers=predicted.registers if predicted else None,
        tables=predicted.tables if predicted else None,
        mended=predicted.mended if predicted else None,
        prediction=prediction,
        observation=observation,
        agreement=agreement,
        is_over=standing is None,
    )
    findings = _findings(context, predicted)
    if predicted is None and not boot.errors:
        diagnostics.append(Diagnostic(f"nothing can be predicted: {_missing(boot)}"))
    status = _status(capture, boot, prediction, observation, findings)
    return Verdict(status, findings, prediction, observation, agreement, tuple(diagnostics))


def _platform(log: LogReport | None, qemu: Version | None) -> Platform:
    """`-d int` is a feature of TCG: a capture that comes with such a log ran there."""
    if log is None:
        return Platform.HARDWARE
    return Platform(qemu) if qemu else Platform.TCG


def chosen_boot(capture: Capture) -> Boot | None:
    """Return the boot that ``analyze`` judges; None if the capture holds none."""
    return capture.boots[_chosen(capture.boots)] if capture.boots else None


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
    found = [finding for rule in RULES for finding in rule.check(context)]
    untold = [finding for finding in found if not _told(finding, struck)]
    # What a rule finds by itself can stop a step as well: a gate that the CPU cannot use.
    striking = sorted(
        [*struck, *(finding for finding in untold if finding.step is not None)],
        key=lambda finding: finding.step or 0,
    )
    rest = [finding for finding in (*composed, *untold) if finding.step is None]
    rest.sort(key=lambda finding: _ORDER[finding.severity])
    return (*striking, *rest)


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


def _status(
    capture: Capture,
    boot: Boot,
    prediction: Prediction | None,
    observation: Observation | None,
    findings: Sequence[Finding],
) -> Status:
    if capture.damage or prediction is None:
        return Status.INCOMPLETE
    if boot.errors:
        stopped = any(where == _PREFLIGHT for where, _, _ in boot.errors)
        return Status.WILL_FAULT if stopped and not prediction.survives else Status.INCOMPLETE
    if observation is not None and observation.ending is not None:
        return Status.HUNG if observation.ending is Ending.HANG else Status.FAULTED
    if not prediction.survives:
        return Status.WILL_FAULT
    if not boot.complete:
        return Status.INCOMPLETE
    if any(finding.severity is Severity.ERROR for finding in findings):
        has_failed = boot.summary is not None and boot.summary[1] > 0
        return Status.FAULTED if has_failed else Status.WILL_FAULT
    return Status.HEALTHY
