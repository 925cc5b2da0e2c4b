"""A prediction as a verdict, as `analyze` gives one on a capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from itertools import takewhile

from cr3scope.diagnose.finding import Finding
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.diagnose.next_causes import next_causes
from cr3scope.diagnose.stopped import findings
from cr3scope.model.prediction import Prediction
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.entry import ADDRESS_MASK


def judge_stopped(
    now: StoppedCpu, notes: Callable[[], Iterable[str]], absent: Set[int]
) -> Verdict:
    """Return the verdict on what comes after the `mov cr3` at the PC, or after the PC under the current tables.

    Once that is known ``notes`` about the source are asked for. ``absent``: places that were wanted and that
    the source does not hold; it grows meanwhile. Where the verdict wanted one, and where not a single
    instruction could be followed, nothing is called healthy.
    """
    seen = predict_code(now)
    prediction = _prediction(now, seen)
    status = Status.WILL_FAULT if seen.interrupt or not prediction.survives else Status.HEALTHY
    if absent or (prediction.survives and not seen.count):
        status = Status.INCOMPLETE
    said = tuple(Diagnostic(words) for words in (*notes(), *_notes(now)))
    return Verdict(status, _findings(now, seen, absent), prediction, diagnostics=said)


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
