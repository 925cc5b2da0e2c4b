"""A jump or call to address 0."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    """Where a trace tells what was to be entered, the entry is what is wrong."""
    if context.is_told or strike.virt or strike.kind is not AccessKind.FETCH:
        return None
    if strike.reason is not Reason.NOT_PRESENT:
        return None
    return Claim(Message("jump to address 0, which is not mapped"), stands_alone=True)


RULE = Rule(
    id="jump-to-null",
    title="jump to address 0",
    severity=Severity.ERROR,
    modes=PAGED,
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
    claim=_claim,
)
