"""A loop that nothing ends."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.last_seen import last_seen
from cr3scope.message import Hex, message
from cr3scope.x86.ending import Ending
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    """With a trace: the plan survives, and the machine was found in the kernel, not halted."""
    seen, prediction = context.observation, context.prediction
    if seen is None or seen.ending is not Ending.HANG or seen.standing is None:
        return
    if seen.standing.halted or prediction is None or context.boot.complete:
        return
    if not prediction.survives or prediction.diverges is not None:
        return
    rip = seen.standing.rip
    if any(rip in segment for segment in context.intent.segments):
        yield RULE.finding(
            message("the switch survives, and the kernel never gets away from RIP={rip}", rip=Hex(rip)),
            *last_seen(seen),
        )


RULE = Rule(
    id="hang-loop",
    title="a tight loop that nothing ends",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The CPU stays within a few bytes of code, and no interrupt comes, because RFLAGS.IF=0 or "
        "because every source is masked: a wait for a flag, a lock or a device that will not "
        "answer, or the empty loop at the end of a panic."
    ),
    shows="Nothing at all: no exception, the log just ends.",
    fix="Look at what the loop at RIP waits for.",
    manual="Intel SDM volume 3A, 7.8.1",
    check=_check,
)
