"""A loop that nothing ends."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.rules.rule import Context, Rule
from cr3scope.verdict import Ending, Finding, Severity

_RIP = re.compile(r"\bRIP=0x([0-9a-f]{1,16})\b")
_HALTED = "halted"  # machine/ending.py: then it is no loop


def _check(context: Context) -> Iterator[Finding]:
    """With a trace: the plan survives, and the machine was found in the kernel, not halted."""
    seen, prediction = context.observation, context.prediction
    if seen is None or seen.ending is not Ending.HANG or _HALTED in seen.detail:
        return
    found = _RIP.search(seen.detail)
    if found is None or prediction is None or context.boot.complete:
        return
    if not prediction.survives or prediction.diverges is not None:
        return
    rip = int(found[1], 16)
    if any(rip in segment for segment in context.intent.segments):
        yield RULE.finding(
            f"the switch survives, and the kernel never gets away from RIP={rip:#x}", seen.detail
        )


RULE = Rule(
    id="hang-loop",
    title="a tight loop with interrupts off",
    severity=Severity.ERROR,
    reason=(
        "The CPU stays within a few bytes of code with interrupts off: a wait for a flag, a "
        "lock or a device that will not answer, or the empty loop at the end of a panic."
    ),
    shows="Nothing at all: no exception, the log just ends.",
    fix="Look at what the loop at RIP waits for.",
    manual="Intel SDM volume 3A, 7.8.1",
    check=_check,
)
