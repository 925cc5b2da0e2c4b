"""NX above the leaf: it forbids execution of everything beneath."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.mode import WITH_NX


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry = strike.culprit
    if strike.reason is not Reason.NO_EXECUTE or entry is None or entry.is_leaf:
        return None
    if context.is_told and strike.target is Target.PLAN and strike.mend is None:
        return None  # nobody meant that address as code: the jump is wrong, not the entry
    return Claim(message("NX in {entry} forbids execution of everything beneath it", entry=entry))


RULE = Rule(
    id="nx-upper-level",
    title="NX in an upper-level entry",
    severity=Severity.ERROR,
    modes=WITH_NX,
    reason=(
        "Execution is allowed only if NX (bit 63) is clear in every entry of the walk. NX in a PML5, "
        "PML4, PDPT or PD entry, set perhaps to protect the tables themselves, takes execution from "
        "all that lies beneath, whatever the leaf says. Tools that print the leaf's bits do not show it."
    ),
    shows=(
        "v=0e e=0011 with RIP=CR2. If the entry also covers the code that is running, the fault comes "
        "at the first instruction after mov cr3; the handler is then not executable either, and "
        "the log fills with the same fault at the handler's address."
    ),
    fix="Set NX in leaf entries only.",
    manual="Intel SDM volume 3A, 5.6.1 and 5.7; AMD APM volume 2, 5.6.1",
    claim=_claim,
)
