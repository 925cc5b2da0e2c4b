"""A handler that raises the exception which calls it."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import PROTECTED

RULE = Rule(
    id="handler-faults",
    title="the exception handler faults itself",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "The gates still lead to a handler, often the firmware's, but the new tables do not give it "
        "what it needs: its data is read-only or not mapped. Each exception in it calls it again, a "
        "frame further down, until the stack meets something that cannot be written."
    ),
    shows=(
        "One exception, then the same #PF at one RIP with a falling RSP, up to hundreds of thousands "
        "of times, then #DF and `Triple fault`."
    ),
    fix=(
        "Mend the first exception. Load an IDT of your own, with handlers that the new tables map, "
        "before the switch."
    ),
    manual="Intel SDM volume 3A, 7.12.1 and 7.15 (interrupt 8)",
)
