"""The IDT is there, but its gates lead to code that cannot be executed."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.logged_event import name
from cr3scope.diagnose.shared.safety_net import severity_of
from cr3scope.input.logs.delivery import Why, enters_handler
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.HANDLER:
        return None
    return Claim(
        message("the exception handler at {handler} cannot be executed", handler=Hex(strike.virt)),
        severity_of(context, "idt"),
        proof=(Message("an exception would fault again at its handler"),),
    )


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is not None and failed.why is Why.HANDLER_UNMAPPED and failed.touched is not None:
        yield _unfetched(failed.touched, name(failed.record))
        return
    for before, after in zip(death.events, death.events[1:]):
        if before.why is None and enters_handler(before.record, after.record):
            yield _unfetched(after.record.rip or 0, name(before.record))
            return


def _unfetched(handler: int, event: Message) -> Finding:
    title = message("the handler at {handler} cannot be executed", handler=Hex(handler))
    return RULE.finding(title, message("{event} was delivered, and the first instruction of its handler faults", event=event))


RULE = Rule(
    id="handler-unmapped",
    title="an exception handler cannot be executed",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Delivery succeeds, and the first instruction of the handler faults. That is a new exception, "
        "no double fault: it is delivered to the same handler, which faults again, without end."
    ),
    shows=(
        "A storm: the same v=0e at the handler's address, RSP 30h lower each time, until the stack "
        "runs out; with an IST it never ends. The cause is the first record, not the last."
    ),
    fix="Map the code that the gates point to, executable, together with the IDT.",
    manual="Intel SDM volume 3A, 7.14, 7.15 (interrupt 8)",
    claim=_claim,
    logged=_logged,
)
