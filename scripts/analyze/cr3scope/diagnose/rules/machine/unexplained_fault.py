"""The machine did something that the model did not predict."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Fact, Message, message
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    prediction, observation = context.prediction, context.observation
    if prediction is None or observation is None or context.agreement is not False:
        return
    if observation.ending is None:
        yield RULE.finding(
            Message("the machine ran where the model saw a fault"),
            message("seen in: {source}", source=observation.source),
        )
        return
    seen: Fact = observation.first or observation.ending
    foreseen: Fact = prediction.first or Message("the plan survives")
    yield RULE.finding(
        message("the machine did something else than the model: {seen}", seen=seen),
        message("seen in: {source}; foreseen: {foreseen}", source=observation.source, foreseen=foreseen),
    )


RULE = Rule(
    id="unexplained-fault",
    title="the machine and the model disagree",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The first exception that was seen is not the one foreseen. Either the kernel went beyond its "
        "plan (then the fault is its own, and the switch is not to blame), or the model is wrong."
    ),
    shows="An exception under the new CR3 at an address that no step of the plan touches.",
    fix="Look at the code at RIP; declare the access in the plan if it belongs to the handoff.",
    manual="docs/handoff.md, the ELF note",
    check=_check,
)
