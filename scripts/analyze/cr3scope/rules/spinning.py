"""A loop that nothing ends."""

from __future__ import annotations

from cr3scope.rules.rule import Rule
from cr3scope.verdict import Severity

RULE = Rule(
    id="spinning",
    title="a tight loop with interrupts off",
    severity=Severity.ERROR,
    reason=(
        "The CPU stays within a few bytes of code with interrupts off: a wait for a flag, a "
        "lock or a device that will not answer, or the empty loop at the end of a panic."
    ),
    shows="Nothing at all: no exception, the log just ends.",
    fix="Look at what the loop at RIP waits for.",
    manual="Intel SDM volume 3A, 7.8.1",
)
