"""The CPU itself, in a rehearsal, did not do what the model says of the same access."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Fact, message
from cr3scope.model.rehearsed import RehearsedStep
from cr3scope.paging.walk import PageFault
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.mode import LONG

_WENT_THROUGH = "it went through"


def _check(context: Context) -> Iterator[Finding]:
    for tried in context.facts.rehearsal:
        if tried.agrees is False:
            yield RULE.finding(
                message("the CPU itself and the model disagree on step {step}, {access}", step=tried.step.step, access=tried.step.name),
                message("CPU, in the rehearsal: {cpu}; model: {model}", cpu=tried.fault or _WENT_THROUGH, model=_by_model(tried)),
                severity=Severity.ERROR if tried.fault is not None and tried.foreseen is None else Severity.WARNING,
            )
    if context.facts.is_rehearsal_unfinished:
        done = [record.step for record in context.boot.rehearsal]
        yield RULE.finding(
            message("the rehearsal began, and nobody tells that it ended"),
            message("the last step that it told of: {step}", step=done[-1])
            if done
            else message("it told of no step"),
        )


def _by_model(tried: RehearsedStep) -> Fact:
    fault: PageFault | None = tried.foreseen
    if fault is None:
        return _WENT_THROUGH
    return Fault(fault.vector, fault.error_code, fault.cr2, None, is_fetch=tried.step.kind is AccessKind.FETCH)


RULE = Rule(
    id="rehearsal-disagrees",
    title="the CPU itself and the model disagree",
    severity=Severity.WARNING,
    modes=LONG,
    reason=(
        "In a rehearsal the CPU makes the planned accesses under the new root, before the switch. Where it does another thing than the "
        "manual says of these tables, it is the CPU that will run the kernel: a hypervisor that hides a feature or has fewer address "
        "bits than it tells, a protection key, an emulator's difference, or tables that changed between the dump and the rehearsal. A "
        "rehearsal that does not end is one from which the CPU did not come back, or the trace was cut there."
    ),
    shows="What the rehearsal says.",
    fix="Believe the CPU for this machine; compare the walk of that address (cr3scope walk) with the manual for others.",
    manual="Intel SDM volume 3A, 5.5 to 5.7",
    check=_check,
    needs=SWITCH,
)
