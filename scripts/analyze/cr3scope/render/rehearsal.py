"""A rehearsal in words: what the CPU itself said before the switch."""

from __future__ import annotations

from cr3scope.model.rehearsed import RehearsedStep
from cr3scope.render import message
from cr3scope.verdict.types import Rehearsal, RehearsalEnd

_BEGUN = "a rehearsal began, and nobody tells that it ended"


def words(rehearsal: Rehearsal) -> str:
    """Return what the CPU refused, or that it refused nothing, and what was not tried; as the guest's names stand in it."""
    if rehearsal.end is RehearsalEnd.REFUSED:
        return f"no rehearsal was made: {rehearsal.why or 'the writer gives no reason'}"
    refused = [step for step in rehearsal.steps if step.fault is not None]
    tried = sum(step.record.is_tried for step in rehearsal.steps)
    if refused:
        said = f"the CPU itself refused {_refusal(refused[0])}"
        if len(refused) > 1:
            said += f", and {len(refused) - 1} more of {tried} steps"
    else:
        said = f"the CPU itself let {'the one step' if tried == 1 else f'all {tried} steps'} through" if tried else "the CPU tried no step"
    untried = len(rehearsal.steps) - tried
    if untried:
        said += f"; {untried} {'was' if untried == 1 else 'were'} not tried"
    if rehearsal.end is RehearsalEnd.BROKEN:
        return f"{_BEGUN}; until then {said}"
    return f"in a rehearsal before the switch {said}"


def _refusal(step: RehearsedStep) -> str:
    fault = step.fault
    raised = message.raised(fault) if fault is not None else ""
    return f"step {step.step.step}, {step.step.name}: {raised}"
