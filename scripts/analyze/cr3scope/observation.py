"""What the machine really did, from the best witness at hand, and whether the model foresaw it."""

from __future__ import annotations

from dataclasses import replace

from cr3scope import exceptions
from cr3scope.capture.records import Boot, FaultRecord
from cr3scope.intlog.observe import LogReport
from cr3scope.verdict import Ending, Fault, Observation, Prediction


def observe(boot: Boot, report: LogReport | None) -> Observation | None:
    """QEMU's log first, then a fault record, then the kernel's own summary; None without any.

    A kernel that checks its rights provokes faults and recovers: if it reached its summary and the
    machine did not die, it ran, whatever exceptions the log holds.
    """
    ran = boot.summary is not None
    if report is not None:
        seen = report.observation()
        died = seen.ending not in (None, Ending.HANDLED)
        if died or (seen.first is not None and not ran):
            return seen
        if ran:
            handled = f"{seen.records} exceptions, all handled" if seen.records else ""
            return replace(seen, ending=None, first=None, detail=seen.detail or handled)
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
    first = Fault(vector, error, cr2, get("rip"), get("cr3"))
    return Observation(Ending.HANDLED, first, 1, f"fault record ({record.by})")


def agree(prediction: Prediction | None, observation: Observation | None) -> bool | None:
    """Whether the two tell the same story; None if one of them is missing.

    Compared are the first exception's vector, error code, CR2 (of a page fault) and RIP, each
    where both sides know it.
    """
    if prediction is None or observation is None:
        return None
    if prediction.survives or observation.ending is None:
        return prediction.survives and observation.ending is None
    if prediction.first is None or observation.first is None:
        return None
    return same_fault(prediction.first, observation.first)


def same_fault(one: Fault, other: Fault) -> bool:
    """Equal, as far as both know; RSVD may come with or without P (see exceptions.same_error)."""
    if one.vector != other.vector:
        return False
    if one.error_code is not None and other.error_code is not None:
        if not exceptions.same_error(one.error_code, other.error_code):
            return False
    if one.vector in exceptions.PAGE_FAULTS and not _same(one.cr2, other.cr2):
        return False
    return _same(one.rip, other.rip)


def _same(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other
