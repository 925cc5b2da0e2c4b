"""A jump or call to address 0."""

from __future__ import annotations

from cr3scope.rules.rule import Rule
from cr3scope.verdict import Severity

RULE = Rule(
    id="jump-to-null",
    title="jump to address 0",
    severity=Severity.ERROR,
    reason=(
        "A kernel entry that was never filled in, or a null function pointer. Address 0 is "
        "often left out of the tables on purpose; where it is mapped, the CPU goes on through "
        "whatever lies there."
    ),
    shows="v=0e e=0010 with RIP=0 and CR2=0.",
    fix=(
        "Check the entry address, or the pointer that was called; the return address may be "
        "on the stack."
    ),
    manual="Intel SDM volume 3A, 5.7",
)
