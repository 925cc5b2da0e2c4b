"""A rehearsal in words: what the CPU itself said before the switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr3scope.render import message
from cr3scope.verdict.types import Rehearsal, RehearsalEnd
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault

if TYPE_CHECKING:  # what a log alone never needs: numpy
    from cr3scope.input.capture.records import RefusedRegister
    from cr3scope.model.rehearsed import RehearsedStep

_BEGUN = "a rehearsal began, and nobody tells that it ended"


def words(rehearsal: Rehearsal) -> str:
    """Return what the CPU refused, or that it refused nothing, and what was not tried; as the guest's names stand in it."""
    why = rehearsal.why or "the writer gives no reason"
    if rehearsal.refused is not None:
        return f"in a rehearsal before the switch the CPU itself refused the planned {_register(rehearsal.refused)}"
    if rehearsal.end is RehearsalEnd.REFUSED and not rehearsal.steps:
        return f"no rehearsal was made: {why}"
    refused = [step for step in rehearsal.steps if step.fault is not None]
    tried = sum(step.record.is_tried and not step.interrupted for step in rehearsal.steps)
    if refused:
        said = f"the CPU itself refused {_refusal(refused[0])}"
        if len(refused) > 1:
            said += f", and {len(refused) - 1} more of {tried} steps"
    else:
        said = f"the CPU itself let {'the one step' if tried == 1 else f'all {tried} steps'} through" if tried else "the CPU tried no step"
    untried = len(rehearsal.steps) - tried
    if untried:
        said += f"; {untried} {'was' if untried == 1 else 'were'} not tried"
        interrupted = next((step for step in rehearsal.steps if step.interrupted), None)
        if interrupted is not None:
            said += f" ({exceptions.name(interrupted.record.vector or 0)} came at step {interrupted.step.step})"
    if rehearsal.end is RehearsalEnd.BROKEN:
        return f"{_BEGUN}; until then {said}"
    if rehearsal.end is RehearsalEnd.REFUSED:
        return f"a rehearsal was given up: {why}; until then {said}"
    return f"in a rehearsal before the switch {said}"


def _register(refused: RefusedRegister) -> str:
    return f"{refused.name} {refused.value:#x}: {message.raised(Fault(refused.vector, refused.error, None, None))}"


def _refusal(step: RehearsedStep) -> str:
    fault = step.fault
    raised = message.raised(fault) if fault is not None else ""
    return f"step {step.step.step}, {step.step.name}: {raised}"
