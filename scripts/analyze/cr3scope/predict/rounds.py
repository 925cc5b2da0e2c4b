"""Round after round: find what strikes next, mend it in the model, go on until the plan survives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cr3scope.capture.records import PlanStep
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault
from cr3scope.predict.mend import Mender
from cr3scope.predict.overlay import Overlay
from cr3scope.predict.plan import exception, first_strike, strike
from cr3scope.predict.strike import Mend, Strike, Target
from cr3scope.verdict import Fault

# A step of many pages may want one mend a page; beyond this the rest of it is taken as the same.
_MAX_MENDS_PER_STEP = 64


@dataclass(frozen=True, slots=True)
class Rounds:
    """Every strike in order, and the tables in which the plan survives.

    ``proved``: the whole plan, run again over ``mended``, has no fault but in the steps for which
    no mend of the tables exists.
    """

    strikes: tuple[Strike, ...]
    mended: Overlay
    proved: bool


def run(tables: Tables, plan: Sequence[PlanStep], mender: Mender, rsp: int) -> Rounds:
    """Mends the tables step by step; a mend only adds rights, so that no earlier step can break."""
    cpu = mender.cpu
    mended = Overlay(tables, cpu.max_phys_bits)
    found: list[Strike] = []
    beyond_mending: set[int] = set()
    for step in sorted(plan, key=lambda step: step.step):
        for _ in range(_MAX_MENDS_PER_STEP):
            fault = strike(mended, cpu, step, mender.platform)
            if fault is None:
                break
            mend = mender.mend(mended, step.kind, fault)
            raised = exception(step, fault, rsp, cpu.cr3, mender.platform)
            found.extend(_strikes(mended, step, fault, mend, raised))
            if mend is None:
                break
        if strike(mended, cpu, step, mender.platform) is not None:
            beyond_mending.add(step.step)
    rest = [step for step in plan if step.step not in beyond_mending]
    return Rounds(tuple(found), mended, first_strike(mended, cpu, rest, mender.platform) is None)


def _strikes(
    mended: Overlay, step: PlanStep, fault: PageFault, mend: Mend | None, raised: Fault
) -> Iterator[Strike]:
    for entry in fault.guilty or (None,):
        origin = mended.origin(entry) if entry else None
        yield Strike(Target.PLAN, step.kind, fault.virt, fault.reason, origin, step, raised, mend)
