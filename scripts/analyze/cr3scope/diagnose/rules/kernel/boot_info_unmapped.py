"""What the kernel is handed lies outside its own address space."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.intent import HANDED_OVER_ROLES
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NOT_PRESENT or strike.target is Target.HANDLER:
        return None
    named = context.intent.at(strike.virt)
    if named is None or named.role not in HANDED_OVER_ROLES:
        return None
    return Claim(
        message("{name} is handed to the kernel but not mapped at {virt}", name=named.label, virt=Hex(strike.virt))
    )


RULE = Rule(
    id="boot-info-unmapped",
    title="something handed to the kernel is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "The boot information, the memory map and the initrd are pointers into the loader's world. "
        "Unless the new tables map them, the kernel's first look at them faults."
    ),
    shows="v=0e e=0000 with RIP in the kernel's first lines and CR2 at the pointer it was given.",
    fix="Map every range that the boot information points to, and the boot information itself.",
    manual="Intel SDM volume 3A, 5.7",
    claim=_claim,
)
