"""A stack that the CPU cannot push to, because nothing is there."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.refused_push import RefusedPush, refused_push
from cr3scope.message import Hex, Message, message
from cr3scope.model.stack_roles import STACK_ROLES
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.reason import Reason
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NOT_PRESENT or strike.target is Target.HANDLER:
        return None
    role = context.intent.role_at(strike.virt)
    if role == "guard":
        return Claim(message(
            "{virt} is in the guard page below a stack: RSP is on its wrong side", virt=Hex(strike.virt)
        ))
    if role not in STACK_ROLES:
        return None
    return Claim(message("the stack is not mapped at {virt}", virt=Hex(strike.virt)))


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    push = refused_push(death)
    if push is None or push.is_present:
        return
    title = message("the stack cannot be written at {virt}: it is not mapped there, or read-only", virt=Hex(push.virt))
    if push.is_present is False:
        title = message("the stack is not mapped at {virt}", virt=Hex(push.virt))
    yield RULE.finding(title, undelivered(push.record), *_whose(push))


def _whose(push: RefusedPush) -> Iterator[Message]:
    if push.is_own and push.record.rsp is not None:
        yield message("RSP={rsp}", rsp=Hex(push.record.rsp))
    else:
        yield Message("it is a stack that the TSS names")


RULE = Rule(
    id="stack-unmapped",
    title="the stack is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "The first push or call after the switch writes below RSP through the new tables. If that "
        "faults, the exception's own frame cannot be pushed either: a double fault, and without an "
        "IST stack a triple fault, even if the IDT is perfect."
    ),
    shows="v=0e e=0002 with CR2=RSP-8, then v=08, then a triple fault.",
    fix="Map the whole stack writable in the new tables; RSP starts at its top, above the guard page.",
    manual="Intel SDM volume 3A, 7.14.2, 7.15 (interrupt 8)",
    claim=_claim,
    logged=_logged,
)
