"""Any refused access that no other rule explains, so that no fault is without a finding."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Message, as_messages
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.access import AccessKind
from cr3scope.x86.names import entry_name

_VERBS = {
    AccessKind.FETCH: "executed",
    AccessKind.READ: "read",
    AccessKind.WRITE: "written",
}


def _claim(context: Context, strike: Strike) -> Claim | None:
    named = context.intent.at(strike.virt)
    what = f"{named.label} at {strike.virt:#x}" if named else f"{strike.virt:#x}"
    title = f"{what} cannot be {_VERBS[strike.kind]}: {_why(strike)}"
    if strike.target is Target.PLAN and strike.mend is None:
        return Claim(Message(title), proof=as_messages("no change of the tables is known to mend this"))
    return Claim(Message(title))


def _why(strike: Strike) -> str:
    return strike.reason.of(entry_name(strike.culprit) if strike.culprit else "the address")


RULE = Rule(
    id="access-fault",
    title="an access that the tables refuse",
    severity=Severity.ERROR,
    reason=(
        "Something that will be accessed, or that the loader asked for by name, is not mapped with "
        "the rights that the access needs. No narrower rule knows the cause."
    ),
    shows="v=0e with the address in CR2; the error code tells read, write and fetch apart.",
    fix="Map the address with the rights that the access needs, or correct the address.",
    manual="Intel SDM volume 3A, 5.6 and 5.7",
    claim=_claim,
    yields=True,
)
