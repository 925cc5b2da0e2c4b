"""A forecast as a verdict, as `analyze` gives one on a capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cr3scope.forecast.forecast import Forecast, forecast
from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.forecast.switch import switch_at_pc
from cr3scope.verdict import Diagnostic, Prediction, Status, Verdict


def judge_stopped(
    now: StoppedCpu, notes: Callable[[], Iterable[str]], is_missing: Callable[[], bool]
) -> Verdict:
    """What comes after the `mov cr3` at the PC, or after the PC under the current tables.

    Asked once that is known: ``notes`` about the source, and whether memory that was wanted is missing.
    Then, and where not a single instruction could be followed, nothing is called healthy.
    """
    seen = forecast(now)
    prediction = _prediction(now, seen)
    status = Status.WILL_FAULT if seen.findings or not prediction.survives else Status.HEALTHY
    if is_missing() or (prediction.survives and not seen.count):
        status = Status.INCOMPLETE
    said = tuple(Diagnostic(words) for words in (*notes(), *_notes(now)))
    return Verdict(status, seen.findings, prediction, diagnostics=said)


def _prediction(now: StoppedCpu, seen: Forecast) -> Prediction:
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
