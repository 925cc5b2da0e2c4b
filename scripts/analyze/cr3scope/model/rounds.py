"""Round after round: find what strikes next, mend it in the model, go on until the plan survives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from cr3scope.input.capture.records import PlanStep
from cr3scope.model import interrupt
from cr3scope.model.delivery import Delivery
from cr3scope.model.intent import Intent
from cr3scope.model.machine import Chain
from cr3scope.model.mend import Mender
from cr3scope.model.plan import exception, strike
from cr3scope.model.changes import Mend
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import PageFault
from cr3scope.target.overlay import Overlay
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.registers import Registers

# A step of many pages may want one mend a page; beyond this the rest of it is taken as the same.
_MAX_MENDS_PER_STEP = 64


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that does not come to its end. ``chain``: of an interrupt, what it comes to."""

    step: PlanStep
    raised: Fault
    chain: Chain | None


@dataclass(frozen=True, slots=True)
class Rounds:
    """Every strike in order, and the tables in which the plan survives.

    ``first``: the one that fails in the tables as they are. A step can fail without a strike,
    where no access is refused.
    """

    strikes: tuple[Strike, ...]
    mended: Overlay
    first: Failure | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The next thing that keeps a step from its end; ``fault`` is None if no access is refused."""

    target: Target
    kind: AccessKind
    fault: PageFault | None
    raised: Fault
    chain: Chain | None = None


@dataclass(slots=True)
class _Run:
    """The plan on its way through tables that are mended as it goes."""

    delivery: Delivery
    mender: Mender
    intent: Intent
    registers: Registers
    mended: Overlay
    strikes: list[Strike] = field(default_factory=list)
    first: Failure | None = None

    def refusal(self, step: PlanStep) -> _Refusal | None:
        """Return what keeps ``step`` from its end in the tables as mended so far; None if nothing does."""
        cpu, platform = self.mender.cpu, self.mender.platform
        fault = None
        if not interrupt.is_hardware(step):
            fault = strike(self.mended, cpu, step, platform)
        if fault is not None:
            raised = exception(step, fault, self.registers.rsp, cpu.cr3, platform)
            return _Refusal(Target.PLAN, step.kind, fault, raised)
        delivery = replace(self.delivery, tables=self.mended)
        chain = interrupt.failure(delivery, step, self.registers, self.intent)
        if chain is None:
            return None
        raised = interrupt.reported(step, chain, cpu.cr3)
        refused = interrupt.refused(step, chain)
        if refused is None:
            return _Refusal(Target.PLAN, step.kind, None, raised, chain)
        return _Refusal(refused.target, refused.kind, refused.fault, raised, chain)

    def take(self, step: PlanStep) -> None:
        """Mend what keeps ``step`` from its end, as far as that can be done in the tables."""
        for _ in range(_MAX_MENDS_PER_STEP):
            refusal = self.refusal(step)
            if refusal is None:
                return
            self.first = self.first or Failure(step, refusal.raised, refusal.chain)
            if refusal.fault is None:
                return
            mend = self.mender.mend(self.mended, refusal.kind, refusal.fault)
            self.strikes.extend(self._strikes(step, refusal, refusal.fault, mend))
            if mend is None:
                return

    def _strikes(
        self, step: PlanStep, refusal: _Refusal, fault: PageFault, mend: Mend | None
    ) -> Iterator[Strike]:
        for entry in fault.guilty or (None,):
            yield Strike(
                refusal.target,
                refusal.kind,
                fault.virt,
                fault.reason,
                self.mended.origin(entry) if entry else None,
                step,
                refusal.raised,
                mend,
            )


def run(
    delivery: Delivery, plan: Sequence[PlanStep], mender: Mender, intent: Intent, registers: Registers
) -> Rounds:
    """Mend the tables step by step; a mend only adds rights, so that no earlier step can break."""
    mended = Overlay(delivery.tables, mender.cpu.max_phys_bits)
    going = _Run(delivery, mender, intent, registers, mended)
    for step in sorted(plan, key=lambda step: step.step):
        going.take(step)
    return Rounds(tuple(going.strikes), mended, going.first)
