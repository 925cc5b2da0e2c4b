"""A prediction as a verdict, as `analyze` gives one on a capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import takewhile

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.diagnose.next_causes import next_causes
from cr3scope.diagnose.stopped import findings
from cr3scope.model.prediction import Prediction
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.verdict.observation import same_fault
from cr3scope.verdict.traced import Trace
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.entry import ADDRESS_MASK


def judge_stopped(
    now: StoppedCpu, notes: Callable[[], Iterable[str]] = tuple, absent: Set[int] = frozenset(),
    trace: Trace | None = None, seen: CodePrediction | None = None,
) -> Verdict:  # fmt: skip
    """Return the verdict on what comes after the `mov cr3` at the PC, or after the PC under the current tables.

    Once that is known ``notes`` about the source are asked for. ``absent``: places that were wanted and
    that the source does not hold; it grows meanwhile. Where the verdict wanted one, and where not a
    single instruction could be followed, nothing is called healthy. ``trace``: of this boot; without one
    what addresses are for is inferred. ``seen``: the prediction of ``now``, if it was made before.
    """
    seen = seen or predict_code(now)
    prediction = _prediction(now, seen)
    lacks = bool(absent)  # before anybody looks at what would break next
    findings = _findings(now, seen, absent)
    told = trace.verdict(now) if trace else None
    differs: tuple[str, ...] = ()
    if told is not None and told.prediction is not None:
        planned = told.prediction
        explains = not planned.survives or planned.diverges is not None
        prediction, differs = _first_of_both(planned, prediction)
        alone = explains and not differs and _has_error(told.findings)
        findings = told.findings if alone else _joined(told.findings, findings)
    status = Status.HEALTHY
    if lacks or (prediction.survives and not seen.count):
        status = Status.INCOMPLETE
    elif seen.interrupt or not prediction.survives or _has_error(findings):
        status = Status.WILL_FAULT
    said = tuple(Diagnostic(words) for words in (*differs, *notes(), *_notes(now)))
    return Verdict(status, findings, prediction, diagnostics=said)


def _first_of_both(planned: Prediction, followed: Prediction) -> tuple[Prediction, tuple[str, ...]]:
    """Return what comes first, by the plan of a trace or by the code that is there, and what is to be said of it.

    Code is followed up to what depends on flags, a plan goes on; but where the two differ the code counts.
    """
    if planned.survives:
        return (followed if planned.diverges is None else replace(planned, chain=followed.chain)), ()
    if followed.survives or planned.first is None:
        return planned, ()
    if followed.first and same_fault(planned.first, followed.first):
        return planned, ()
    return followed, (f"the trace's plan fails at another step, {planned.step}: told is what the code there does",)


def _joined(told: Sequence[Finding], followed: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings of a trace and those of the code that is there; the trace knows more of the same entry.

    What the trace alone explains is told by it alone: mends of what is not wrong lead the code astray.
    """
    entries = {one.entry for one in told if one.entry}
    rules = {one.rule for one in told}
    new = [one for one in followed if one.rule not in rules and (one.entry is None or one.entry not in entries)]
    return (*new, *told)


def _has_error(findings: Iterable[Finding]) -> bool:
    return any(one.severity is Severity.ERROR for one in findings)


def _findings(now: StoppedCpu, seen: CodePrediction, absent: Set[int]) -> tuple[Finding, ...]:
    """With what would break next, up to a table that the source does not hold: nobody knows what it says."""
    found = [one.finding for one in next_causes(now, seen).obstacles] or list(findings(now, seen))
    known = takewhile(
        lambda one: one.entry is None or one.entry.value & ADDRESS_MASK not in absent, found[1:]
    )
    return (*found[:1], *known)


def _prediction(now: StoppedCpu, seen: CodePrediction) -> Prediction:
    if seen.fault is None or seen.refused is None:
        plural = "" if seen.count == 1 else "s"
        words = f"the switch and {seen.count} instruction{plural} behind it go through"
        if switch_at_pc(now) is None:
            words = f"{seen.count} instruction{plural} from {now.rip:#x} on go through"
        return Prediction(True, chain=(seen.end,), followed=words)
    chain = seen.chain
    first = seen.steps[0]
    return Prediction(
        False, seen.refused.name, seen.fault, chain.ends if chain else None, chain.words if chain else (),
        number=0 if seen.refused is first and seen.refused.name == "next fetch" and switch_at_pc(now) else None,
    )  # fmt: skip


def _notes(now: StoppedCpu) -> Iterator[str]:
    if switch_at_pc(now) is None:
        yield f"CPU {now.number} stands at {now.rip:#x}, which is no mov cr3: judged under its own CR3"
