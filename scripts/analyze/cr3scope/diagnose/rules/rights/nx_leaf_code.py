"""Code whose own page is marked no-execute."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.mode import WITH_NX


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry = strike.culprit
    if strike.reason is not Reason.NO_EXECUTE or entry is None:
        return None
    if not entry.is_leaf or strike.target is Target.HANDLER:
        return None
    if context.is_told and strike.target is Target.PLAN and strike.mend is None:
        return None
    named = context.intent.at(strike.virt)
    if named is not None:
        return Claim(message("{name} is mapped no-execute by {entry}", name=named.label, entry=entry))
    return Claim(message("code at {virt} is mapped no-execute by {entry}", virt=Hex(strike.virt), entry=entry))


RULE = Rule(
    id="nx-leaf-code",
    title="code mapped no-execute",
    severity=Severity.ERROR,
    modes=WITH_NX,
    reason=(
        "The leaf entry of a page that holds code has NX (bit 63) set. Often PF_X of the ELF segment "
        "was read the wrong way round, or the rights of a neighbour in the same page won."
    ),
    shows="v=0e e=0011 with RIP=CR2 inside the segment, often exactly at the entry point.",
    fix="Clear NX where the segment's p_flags have PF_X.",
    manual="Intel SDM volume 3A, 5.6.1; ELF gABI, program header, p_flags",
    claim=_claim,
)
