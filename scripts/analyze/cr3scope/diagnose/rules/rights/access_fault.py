"""Any refused access that no other rule explains, so that no fault is without a finding."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.refusal import refusal
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED

NO_MEND = Message("no change of the tables is known to mend this")
_TITLES = {
    AccessKind.FETCH: "{what} cannot be executed: {why}",
    AccessKind.READ: "{what} cannot be read: {why}",
    AccessKind.WRITE: "{what} cannot be written: {why}",
}


def _claim(context: Context, strike: Strike) -> Claim | None:
    named, virt = context.intent.at(strike.virt), Hex(strike.virt)
    what = message("{name} at {virt}", name=named.label, virt=virt) if named else message("{virt}", virt=virt)
    title = message(_TITLES[strike.kind], what=what, why=refusal(strike.reason, strike.culprit))
    if strike.target is Target.PLAN and strike.mend is None:
        return Claim(title, proof=(NO_MEND,))
    return Claim(title)


RULE = Rule(
    id="access-fault",
    title="an access that the tables refuse",
    severity=Severity.ERROR,
    modes=PAGED,
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
