"""R/W clear above a leaf that is writable."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Reason
from cr3scope.x86.mode import PAGED


def _claim(_context: Context, strike: Strike) -> Claim | None:
    entry = strike.culprit
    if strike.reason is not Reason.READ_ONLY or entry is None or entry.is_leaf:
        return None
    return Claim(message("R/W clear in {entry} makes everything beneath it read-only", entry=entry))


RULE = Rule(
    id="upper-level-readonly",
    title="an upper-level entry is read-only",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "A page is writable only if R/W (bit 1) is set in every entry of the walk. A parent created "
        "with the rights of its first, read-only child takes write access from all later ones."
    ),
    shows="v=0e e=0003 with CR2 at the first write beneath the entry: often the stack, then v=08.",
    fix="Give upper-level entries the widest rights and restrict in the leaves.",
    manual="Intel SDM volume 3A, 5.6.1",
    claim=_claim,
)
