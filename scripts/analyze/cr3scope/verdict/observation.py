"""What the machine really did, from the best witness at hand, and whether the model foresaw it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cr3scope.diagnose.observation import Observation, observed
from cr3scope.input.capture.records import Boot, FaultRecord, PlanStep
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import message
from cr3scope.model.prediction import Prediction
from cr3scope.model.strike import Strike, Target
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import ADDRESS_MASK
from cr3scope.x86.names import covered


def observe(boot: Boot, report: LogReport | None) -> Observation | None:
    """Return what was seen of the boot: by QEMU's log, else by a fault record, else by the kernel's summary;
    None without any.

    A kernel that checks its rights provokes faults and recovers: if it reached its summary and the machine did
    not die, it ran, whatever exceptions the log holds.
    """
    ran = boot.summary is not None
    if report is not None:
        seen = observed(report)
        died = seen.ending is not None and (report.has_screen or report.is_last or seen.ending not in (Ending.HANDLED, Ending.DELIVERED))
        if seen.ending is Ending.DELIVERED and boot.faults:  # somebody took it, and said so
            seen = replace(seen, ending=Ending.HANDLED)
        if died or (seen.first is not None and not ran):
            return seen
        if ran:
            counted = seen.counted or Count(seen.records, seen.records, 0)
            handled = message("{counted:handled}", counted=counted) if seen.records else None
            return replace(seen, ending=None, first=None, detail=seen.detail or handled, events=(), is_routine=False)
    if boot.faults:
        return _from_record(boot.faults[0])
    if ran:
        return Observation(None, source="the kernel's summary")
    return None


def _from_record(record: FaultRecord) -> Observation:
    get = record.registers.get
    vector = get("vector", 0)
    cr2 = get("cr2") if vector in exceptions.PAGE_FAULTS else None
    error = get("error") if vector in exceptions.WITH_ERROR_CODE else None
    rip = exceptions.raised_at(vector, get("rip"))
    first = Fault(vector, error, cr2, rip, get("cr3"))
    return Observation(Ending.HANDLED, first, 1, f"fault record ({record.by})")


def agree(
    prediction: Prediction | None,
    observation: Observation | None,
    boot: Boot | None = None,
    any_version: bool = False,
) -> bool | None:
    """Return whether the two tell the same story; None if one of them is missing.

    ``any_version``: nobody told which QEMU made the observation.

    Compared are the first exception's vector, error code, CR2 (of a page fault) and RIP, each where both sides
    know it. Of a plan that leads astray at a step of ``boot`` nothing is known from that step on: any trouble
    is as foreseen, but none before.
    """
    if prediction is None or observation is None:
        return None
    if boot is not None and _is_before_the_switch(observation, boot):
        return None
    if boot is not None and prediction.diverges is not None:
        return _agree_astray(prediction.diverges, observation, boot)
    if prediction.survives and observation.ending is Ending.HANG:
        return None  # a kernel that stands still does so beyond the plan
    if prediction.survives and observation.is_routine:
        return None  # the log ends too early
    if prediction.survives or observation.ending is None:
        return prediction.survives and observation.ending is None
    if prediction.first is None or observation.first is None:
        return True if prediction.ends is observation.ending is Ending.HANG else None
    seen = [observation.first, *([observation.earliest] if observation.earliest else [])]
    return any(same_fault(prediction.first, each, any_version) for each in seen)


def _is_before_the_switch(observation: Observation, boot: Boot) -> bool:
    """Whether the exception came under another root than the planned one."""
    planned, first = boot.cpus.get("handoff"), observation.first
    if planned is None or first is None or first.cr3 is None:
        return False
    return (first.cr3 ^ planned.registers.get("cr3", first.cr3)) & ADDRESS_MASK != 0


def _agree_astray(step: int, observation: Observation, boot: Boot) -> bool | None:
    if observation.ending is None:
        has_passed = boot.summary is not None and boot.summary[1] == 0
        return None if has_passed else True
    if observation.first is None:
        return True
    struck = [each.step for each in boot.plan if _strikes(observation.first, each)]
    return not struck or max(struck) >= step


def _strikes(fault: Fault, step: PlanStep) -> bool:
    """Whether a fault is one of this step: in its instruction, and at an address that it touches."""
    touched = range(step.virt, step.virt + max(step.width, 1))
    own = fault.rip in touched if step.kind is AccessKind.FETCH else fault.rip == step.rip
    if fault.vector in exceptions.PAGE_FAULTS and fault.cr2 is not None:
        return own and fault.cr2 in touched
    return own


def is_late_strike(observation: Observation, strikes: Iterable[Strike]) -> bool:
    """Return whether the machine died of an access that no step of the plan makes, in a range of which it was
    told beforehand that the tables refuse just this access."""
    fault = observation.first
    if fault is None or fault.vector not in exceptions.PAGE_FAULTS or fault.cr2 is None:
        return False
    kind = exceptions.page_fault_access(fault.error_code or 0)
    return any(
        strike.target is Target.RANGE
        and strike.kind.value == kind
        and strike.culprit is not None
        and fault.cr2 in range(*_reach(strike))
        for strike in strikes
    )


def _reach(strike: Strike) -> tuple[int, int]:
    assert strike.culprit is not None
    first, last = covered(strike.culprit, strike.virt)
    return first, last + 1


def same_fault(one: Fault, other: Fault, any_version: bool = False) -> bool:
    """Return whether what was foreseen is what was seen, as far as both know.

    RSVD may come with or without P (see exceptions.same_error); ``any_version``: see exceptions.same_selector_error.
    """
    if one.vector != other.vector:
        return False
    if one.error_code is not None and other.error_code is not None:
        if one.vector in exceptions.SELECTOR_ERRORS:
            if not exceptions.same_selector_error(one.error_code, other.error_code, any_version):
                return False
        elif not exceptions.same_error(one.error_code, other.error_code):
            return False
    if one.vector in exceptions.PAGE_FAULTS and not _same(one.cr2, other.cr2):
        return False
    return _same(one.rip, other.rip)


def _same(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other
