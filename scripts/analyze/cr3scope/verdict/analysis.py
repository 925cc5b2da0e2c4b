"""What a capture comes to, with the log of the same run if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.diagnose.facts.last_words import panics_in_words
from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.logged import beside, findings_of_log
from cr3scope.diagnose.merge import merged
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.rule import Context, SwitchState, able
from cr3scope.diagnose.rules.firmware import loader_refused
from cr3scope.diagnose.witness import Witness
from cr3scope.diagnose.rules.kernel import kernel_silent
from cr3scope.diagnose.rules.machine import unexplained_fault
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.symbols import LineSource, NoSymbols, Symbols
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.planned_switch import Lack, lacking, planned_switch
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot, Capture
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.console import CONSOLE, read_console, with_console
from cr3scope.input.logs.log_report import SOURCES_OF_TCG, LogReport
from cr3scope.message import message
from cr3scope.model.facts import Facts
from cr3scope.model.intent import Intent
from cr3scope.model.plan_prediction import PlanPrediction, predict_plan
from cr3scope.verdict import boots
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.fault_walk import walk_in_capture
from cr3scope.verdict.gave_up import with_doubt, with_panic
from cr3scope.verdict.other_cpu import cpu_on_its_way, died_of_other, foretold
from cr3scope.verdict.picture import Picture, Space, Step
from cr3scope.verdict.observation import agree, is_late_strike, observe
from cr3scope.verdict.places import placed
from cr3scope.verdict.types import FaultWalk, Rehearsal, RehearsalEnd, Verdict
from cr3scope.x86.platform import Platform, Version

_UNPROMISED = (
    "the loader promises no section of the kernel's, and whether the kernel goes on with the trace its `elf` record does"
    " not tell: nobody knows whether it ran"
)
_BEFORE_ALL = (
    "the plan survives in the model; of what came behind the switch the photo tells nothing",
    "if the machine died behind the switch, photograph what the screen shows after the exception",
)
_BROKEN_PROMISE = (
    "the loader promises no section of the kernel's, but by its file the kernel goes on with the trace: nobody knows whether it ran"
)
_LACKS = {
    Lack.STATE: "the `cpu` record of the handoff",
    Lack.TABLES: "the dump of the new tables",
    Lack.TOP_TABLE: "the top table, which the writer could not read,",
    Lack.PLAN: "the plan",
}
_PREFLIGHT = "preflight"  # where the loader refused because its own walk foresaw a fault
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


LogsOfBoots = Callable[[Sequence[Boot]], Sequence[LogReport | None] | LogReport | None]
LinesOfBoot = Callable[[Boot], LineSource]


def analyze(
    capture: Capture, log: LogReport | LogsOfBoots | None = None, lines: LineSource | LinesOfBoot | None = None
) -> Verdict:
    """Return the verdict on a capture, as `cr3scope analyze` gives one: see :func:`case_of_capture`."""
    chosen = chosen_boot(capture)
    texts = lines(chosen) if callable(lines) and chosen is not None else lines
    return assemble(case_of_capture(capture, log, lines), texts if isinstance(texts, Symbols) else None)


def case_of_capture(
    capture: Capture,
    log: LogReport | LogsOfBoots | None = None,
    lines: LineSource | LinesOfBoot | None = None,
    qemu: Version | None = None,
    standing: Platform | None = None,
    began_again: bool = False,
    heard: Witness | None = None,
    console: bytes = b"",
) -> Case:
    """Return what is known of the boot that decides (``boots.decisive``), with a line on each of several.

    Damage anywhere forbids a clean verdict. ``log``: what a log tells, or what returns that for each of some boots;
    ``lines``: of a boot's images, None without their files. ``qemu``: the version of the QEMU that wrote ``log``;
    None if nobody told. ``standing``: the platform of a machine that stands before the switch, so that nothing can
    have come of it yet; None of one that went on. ``began_again``: whoever listened heard the machine boot again behind the last.
    ``heard``: who has seen the machine, where that is not what ``capture`` and ``log`` say. ``console``: what the last boot
    said where no trace is.
    """
    if not capture.boots:
        nothing = Diagnostic("the capture holds no boot: no `begin` record was found")
        said = (*capture.damage, nothing, *capture.notes)
        empty = Case(circumstances=frozenset({Circumstance.NOTHING_TO_JUDGE}), diagnostics=said)
        return with_panic(empty, read_console(capture.console or console).panic)
    reports, remarks = _reports(capture.boots, log(capture.boots) if callable(log) else log)
    lines_of = lines if callable(lines) else _lines_of(capture, lines)

    def case_of(number: int, restarts: int) -> Case:
        boot = capture.boots[number]
        report = reports[number]
        alone = Witness.PHOTO if capture.is_photo else Witness.NOBODY
        witness = heard or (alone if report is None else Witness.LOG)
        elsewhere = console if number == len(capture.boots) - 1 else b""
        text = b"" if standing else boot.console + elsewhere
        case = _case_of_boot(boot, report, _told_at_console(boot, text), lines_of(boot), qemu, standing, restarts, witness)
        return case if Circumstance.GAVE_UP in case.circumstances else with_doubt(case, panics_in_words(text))

    case = boots.judge(capture.boots, case_of, began_again, has_ends=not capture.is_photo)
    if standing is None:
        case = boots.with_untraced(case, capture.boots, capture.before)
    if capture.damage:
        case = replace(case, circumstances=case.circumstances | {Circumstance.DAMAGED})
    return replace(case, diagnostics=(*capture.damage, *case.diagnostics, *remarks, *capture.notes))


def _told_at_console(boot: Boot, text: bytes) -> LogReport:
    """What a console tells of a boot: behind its last record of its end, whatever it has survived before."""
    said = read_console(text)
    last = read_console(boot.behind) if text and said.ending is not None else said
    return said if last.ending is None else replace(last, panic=said.panic, is_last=True)


def _reports(
    all_boots: Sequence[Boot], told: Sequence[LogReport | None] | LogReport | None
) -> tuple[Sequence[LogReport | None], tuple[Diagnostic, ...]]:
    """What a log tells of each boot, and what is uncertain in that. No death in it is none of any of them."""
    if told is not None and not isinstance(told, LogReport):
        return told, ()
    reports: list[LogReport | None] = [told] * len(all_boots)
    if told is None or not told.tells or len(all_boots) == 1:
        return reports, ()
    number = boots.whose(told, all_boots)
    reports = [told if one == number else None for one in range(len(all_boots))]
    words = "the log tells of {log_boots} boots, the capture of {count}: its death is taken for that of number {number}"
    if told.boots == 1:
        words = "the log tells of one boot, the capture of {count}: its death is taken for that of number {number}"
    said = message(words, log_boots=told.boots, count=len(all_boots), number=number + 1)
    return reports, (Diagnostic(said),)


def _lines_of(capture: Capture, lines: LineSource | None) -> LinesOfBoot:
    """Those that were made for the boot of `chosen_boot`: another may have its images elsewhere."""
    chosen = chosen_boot(capture)
    images = chosen.images if chosen else []
    return lambda boot: lines if lines is not None and boot.images == images else NoSymbols()


def _case_of_boot(
    boot: Boot, log: LogReport | None, said: LogReport, lines: LineSource, qemu: Version | None, standing: Platform | None, restarts: int,
    witness: Witness,
) -> Case:
    """``said``: what the console tells of the boot."""
    diagnostics: list[Diagnostic] = []
    boot = _as_promised(boot, lines)
    panic = said.panic if log is None or log.panic is None else log.panic
    log = with_console(log, said)
    intent = Intent(boot)
    platform = standing or _platform(log, qemu)
    switch = planned_switch(boot)
    predicted = None if switch is None else predict_plan(switch, intent, platform)
    # All rules are asked: what they want to know of the tables is worked out before the first of them.
    facts = Facts(predicted.tables, predicted.cpu, intent, platform, MOST_NAMED).worked_out() if predicted else None
    observation = observe(boot, log)
    prediction = predicted.prediction if predicted else None
    is_beyond_the_plan = log is not None and log.is_last and boot.summary is not None
    if observation is None and panic is not None and prediction is not None and prediction.survives:
        observation = Observation(None, source=CONSOLE)  # who speaks has come behind the switch
    agreement = None if is_beyond_the_plan else agree(prediction, observation, boot, any_version=qemu is None)
    if predicted and observation and agreement is False and predicted.prediction.survives:
        agreement = is_late_strike(observation, predicted.strikes)
    if observation is not None and observation.is_routine and boot.rehearse is not None and agreement and prediction and not prediction.survives:
        observation = replace(observation, is_routine=False)  # the alike ones before were the rehearsal's
    is_other = predicted is not None and predicted.prediction.survives and died_of_other(boot, observation)
    if is_other:
        agreement = None
    context = Context(
        boot=boot,
        intent=intent,
        attribution=Attribution(boot, intent, lines),
        restarts=restarts,
        platform=platform,
        switch=SwitchState(predicted.cpu, predicted.registers, predicted.tables) if predicted else None,
        mended=predicted.mended if predicted else None,
        prediction=prediction,
        observation=observation,
        agreement=agreement,
        is_over=standing is None,
        witness=witness,
        all_facts=facts,
    )
    findings = _with_logged(_findings(context, predicted), observation, log)
    if is_other:
        agreement = True if foretold(findings) else None
        diagnostics.append(Diagnostic(f"CPU {cpu_on_its_way(boot)} was on its way when it came: the boot CPU had gone through its plan"))
    if predicted is None and not boot.errors:
        diagnostics.append(Diagnostic(f"nothing can be predicted: {', '.join(_LACKS[lack] for lack in lacking(boot))} is not in the capture"))
    if witness is Witness.PHOTO and kernel_silent.is_unheard(context):
        diagnostics += map(Diagnostic, _BEFORE_ALL)
    if boot.is_unpromised:
        known = isinstance(lines, Symbols) and lines.traces(boot.elfs)
        diagnostics.append(Diagnostic(_BROKEN_PROMISE if known else _UNPROMISED))
    diagnostics += (Diagnostic(f"past the budget of this judgement, and not told: {what}") for what in intent.left_out)
    walk = _walk(context, log)
    if observation is not None and log is not None and isinstance(lines, Symbols) and lines.has_files:
        observation, notes = placed(observation, log, lines)
        diagnostics.extend(notes)
    case = Case(
        findings, prediction, observation, agreement, walk,
        circumstances=frozenset(_circumstances(boot, predicted, findings, observation, intent)), diagnostics=tuple(diagnostics),
        picture=_picture(context, lines), rehearsal=_rehearsal(context),
    )  # fmt: skip
    return with_panic(case, panic)


def _as_promised(boot: Boot, lines: LineSource) -> Boot:
    """The boot, with what its kernel's file says of whether its section was due, where its loader promises none."""
    if not boot.promises_nothing or boot.errors or not isinstance(lines, Symbols):
        return boot
    traces = lines.traces(boot.elfs)
    if traces is None:
        return boot
    return replace(boot, is_unpromised=traces, complete=not traces and (boot.complete or boot.is_unpromised))


def _walk(context: Context, log: LogReport | None) -> FaultWalk | None:
    """Of what the machine died of; where nothing was seen, of what is foreseen. None of a machine that ran."""
    seen, prediction = context.observation, context.prediction
    fault = prediction.first if prediction and seen is None else None
    if log is not None and log.ending is not None and (seen is None or seen.ending is not None):
        fault = log.fatal or log.first
    return walk_in_capture(context.boot, fault, context.attribution, context.platform)


def _rehearsal(context: Context) -> Rehearsal | None:
    """What the CPU itself said; None if nobody asked it, or nothing is known of the new tables."""
    last = context.boot.rehearse
    if last is None or context.switch is None:
        return None
    ends = {"end": RehearsalEnd.WHOLE, "refused": RehearsalEnd.REFUSED}
    return Rehearsal(ends.get(last.state, RehearsalEnd.BROKEN), last.why, context.facts.rehearsal, last.refused)


def _picture(context: Context, lines: LineSource) -> Picture | None:
    """The address spaces that the trace has dumped; None if it lacks the one behind the switch."""
    boot, states = context.boot, context.boot.cpus

    def space(dump: str, state: str, title: str) -> Space | None:
        if dump not in boot.dumps or state not in states:
            return None
        cpu = replace(cpu_state(states[state]), cr3=boot.dumps[dump].cr3)
        return Space(title, cpu, DumpTables(boot.dumps[dump]))

    judged = space("new", "handoff", "behind the switch")
    if judged is None:
        return None
    plan = sorted(boot.plan, key=lambda step: step.step)
    steps = tuple(Step(one.name, one.kind, one.virt, max(one.width, 1), one.align) for one in plan)
    return Picture(
        judged,
        space("old", "entry", "before the switch"),
        space("after", "handoff", "as the kernel dumped it"),
        context.platform, boot, context.intent, context.attribution,
        lines if isinstance(lines, Symbols) else None, steps,
    )  # fmt: skip


def _platform(log: LogReport | None, qemu: Version | None) -> Platform:
    """`-d int` is a feature of TCG: a capture that comes with such a log ran there. What a guest itself printed tells nothing."""
    if log is None or (qemu is None and not any(source in log.source for source in SOURCES_OF_TCG)):
        return Platform.HARDWARE
    return Platform(qemu) if qemu else Platform.TCG


def chosen_boot(capture: Capture) -> Boot | None:
    """Return the boot of a capture that stands for it where none is judged: the last that came to its switch, else
    the last that says how it went, else the last; None if the capture holds none.
    """
    return boots.last_telling(capture.boots)


def planned_cr3(capture: Capture) -> int | None:
    """Return the CR3 of the switch in the chosen boot; None if the capture does not tell it."""
    boot = chosen_boot(capture)
    return None if boot is None else boots.planned_cr3(boot)


def symbols_of_boot(capture: Capture, elf_files: Sequence[ElfFile]) -> Symbols:
    """Return the ELF twins of the chosen boot, where its images lie."""
    boot = chosen_boot(capture)
    return Symbols(boot.images if boot else (), elf_files)


def _findings(context: Context, predicted: PlanPrediction | None) -> tuple[Finding, ...]:
    """What strikes, in order; then what else is wrong, the worst first."""
    composed = compose(context, RULES, predicted.strikes if predicted else ())
    struck = [finding for finding in composed if finding.step is not None]
    found = [finding for rule in able(RULES, context) for finding in rule.check(context)]
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


def _circumstances(
    boot: Boot, predicted: PlanPrediction | None, findings: Sequence[Finding], observation: Observation | None, intent: Intent
) -> Iterator[Circumstance]:
    if observation is not None and observation.is_routine and observation.ending is not None:
        yield Circumstance.ROUTINE
    if predicted is None:
        yield Circumstance.NOTHING_TO_JUDGE
    if boot.errors:
        refused = any(where == _PREFLIGHT for where, _, _ in boot.errors)
        causes = [one for one in findings if one.severity is Severity.ERROR and one.rule != loader_refused.RULE.id]
        foreseen = predicted is not None and (not predicted.prediction.survives or bool(causes))
        yield Circumstance.LOADER_REFUSED if refused and foreseen else Circumstance.LOADER_FAILED
    if not boot.complete:
        yield Circumstance.UNFINISHED
    if intent.left_out:
        yield Circumstance.LEFT_OUT
    if boot.summary is not None and boot.summary[1] > 0:
        yield Circumstance.CHECK_FAILED
