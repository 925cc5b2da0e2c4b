"""The CPU itself, in a rehearsal, refused a control register that the switch would load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import BEFORE_ALL_STEPS, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.rehearsed import ran_on
from cr3scope.x86.access import Fault
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    refused = context.boot.rehearse.refused if context.boot.rehearse is not None else None
    if refused is None:
        return
    went_on = ran_on(context.boot)
    finding = RULE.finding(
        message("the CPU itself refuses the planned {register}, {value}", register=refused.name, value=Hex(refused.value)),
        message("CPU, in the rehearsal: {cpu}", cpu=Fault(refused.vector, refused.error, None, None)),
        *([Message("a kernel ran all the same: the switch did not load it, or it was let through then")] if went_on else []),
        severity=Severity.WARNING if went_on else Severity.ERROR,
    )
    yield replace(finding, step=BEFORE_ALL_STEPS)


RULE = Rule(
    id="register-refused",
    title="the CPU refuses a planned control register",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "Before mov cr3 the switch loads CR0, CR4 and EFER as they were asked for. A bit that this CPU does not have, or that a "
        "hypervisor keeps for itself, and a combination that it does not allow raise #GP(0) at that instruction: the machine dies "
        "there, whatever the new tables are. The rehearsal loads the same values, with exceptions caught."
    ),
    shows="v=0d at mov to CR0 or CR4, or at wrmsr; CR3 is still the old one. QEMU's TCG repeats a mov to CR4 with such a bit without end, and logs nothing.",
    fix="Ask for no bit that CPUID does not tell of; leave the field 0 to keep what is loaded.",
    manual="Intel SDM volume 3A, 2.5; volume 2B, MOV (control registers), WRMSR",
    check=_check,
)
