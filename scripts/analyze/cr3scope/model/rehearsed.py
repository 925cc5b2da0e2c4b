"""What the CPU itself said of the plan's steps, in a rehearsal before the switch, beside what the model says of them."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import Boot, PlanStep, RehearsalRecord
from cr3scope.model.plan import strike
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform

_NO_ANSWER = frozenset({exceptions.NMI, exceptions.MACHINE_CHECK})
_THROUGH_THE_STACK = frozenset({exceptions.STACK_FAULT, exceptions.PROTECTION})


@dataclass(frozen=True, slots=True)
class RehearsedStep:
    """A step of the plan that was rehearsed.

    ``agrees``: whether the model says the same; None of one that was not tried, or whose try something else interrupted.
    """

    step: PlanStep
    record: RehearsalRecord
    foreseen: PageFault | None
    agrees: bool | None

    @property
    def interrupted(self) -> bool:
        """Return whether what came is no answer to an access: an NMI, or a machine check (SDM volume 3A, 7.15)."""
        return self.record.vector in _NO_ANSWER

    @property
    def fault(self) -> Fault | None:
        """Return the exception that the CPU raised; None if it let the access through, or nobody knows."""
        record = self.record
        if record.vector is None or self.interrupted:
            return None
        cr2 = record.cr2 if record.vector in exceptions.PAGE_FAULTS else None
        return Fault(record.vector, record.error, cr2, None, is_fetch=self.step.kind is AccessKind.FETCH)


def rehearsed(boot: Boot, tables: Tables, cpu: CpuState, platform: Platform) -> Iterator[RehearsedStep]:
    """Yield each rehearsed step that the plan has, in the order of the records."""
    steps = {step.step: step for step in boot.plan}
    said: dict[int, PageFault | None] = {}  # a hostile trace may rehearse one wide step thousands of times
    for record in boot.rehearsal:
        step = steps.get(record.step)
        if step is None:
            continue
        if record.step not in said:
            said[record.step] = strike(tables, cpu, step, platform)
        foreseen = said[record.step]
        is_answer = record.is_tried and record.vector not in _NO_ANSWER
        yield RehearsedStep(step, record, foreseen, _agree(step, record, foreseen) if is_answer else None)


def unfinished(boot: Boot) -> bool:
    """Return whether a rehearsal began of which nothing tells that it ended: neither its record nor a kernel that ran on."""
    return boot.rehearse is not None and boot.rehearse.state == "begin" and not ran_on(boot)


def ran_on(boot: Boot) -> bool:
    """Return whether a kernel tells that it ran behind the switch."""
    return boot.summary is not None or bool(boot.checks)


def _agree(step: PlanStep, record: RehearsalRecord, foreseen: PageFault | None) -> bool:
    if record.vector is None or foreseen is None:
        return record.vector is None and foreseen is None
    if foreseen.vector not in exceptions.PAGE_FAULTS:  # #SS through the stack, which TCG takes for #GP
        is_stack = step.kind is AccessKind.WRITE and record.vector in _THROUGH_THE_STACK
        return record.vector == foreseen.vector or (is_stack and foreseen.vector in _THROUGH_THE_STACK)
    same_error = record.error is None or foreseen.error_code is None or exceptions.same_error(record.error, foreseen.error_code)
    return record.vector == foreseen.vector and same_error and record.cr2 == foreseen.cr2
