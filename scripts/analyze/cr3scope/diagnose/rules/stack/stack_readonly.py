"""A stack that is there, but read-only."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.refused_push import refused_push
from cr3scope.message import Hex, message
from cr3scope.model.stack_roles import STACK_ROLES
from cr3scope.model.strike import Strike
from cr3scope.paging.reason import Reason
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry = strike.culprit
    if strike.reason is not Reason.READ_ONLY or entry is None:
        return None
    if not entry.is_leaf:
        return None
    if context.intent.role_at(strike.virt) not in STACK_ROLES:
        return None
    return Claim(message("the stack is mapped read-only by {entry}", entry=entry))


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    push = refused_push(death)
    if push is not None and push.is_present:
        yield RULE.finding(message("the stack is read-only at {virt}", virt=Hex(push.virt)), undelivered(push.record))


RULE = Rule(
    id="stack-readonly",
    title="the stack is read-only",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "With CR0.WP set, as UEFI firmware leaves it, a supervisor write to a page without R/W faults. "
        "A push on such a stack faults, and so does the push of the exception's frame."
    ),
    shows="v=0e e=0003 with CR2=RSP-8, then v=08, then a triple fault.",
    fix="Map the stack with R/W set.",
    manual="Intel SDM volume 3A, 5.6.1, 7.15 (interrupt 8)",
    claim=_claim,
    logged=_logged,
)
