"""Round after round: find what strikes next, mend it in the model, go on until the plan survives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import PlanStep
from cr3scope.model import interrupt
from cr3scope.model.delivery import Delivery
from cr3scope.model.extent import extent
from cr3scope.model.intent import Intent
from cr3scope.model.machine import Chain
from cr3scope.model.mend import Mender, levels
from cr3scope.model.plan import exception, strike
from cr3scope.model.changes import Mend
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import PageFault, Reason
from cr3scope.target.overlay import Overlay
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.registers import Registers

# A step of many pages may want one mend a page; of the rest is said that it is the same.
_MOST_MENDS_PER_STEP = 512


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


_Key = tuple[tuple[int, int], Reason, tuple[int, ...]]


def _key(part: tuple[int, int], fault: PageFault) -> _Key:
    return part, fault.reason, levels(fault)


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
    mends: dict[_Key, Mend] = field(default_factory=dict)  # of parts of the address space

    def refusal(self, step: PlanStep, begin: int, foreseen: PageFault | None) -> _Refusal | None:
        """Return what keeps ``step`` from its end in the tables as mended so far; None if nothing does.

        Its bytes below ``begin`` are known to go through. ``foreseen``: its fault in the tables as they are.
        """
        cpu, platform = self.mender.cpu, self.mender.platform
        fault = foreseen
        if self.mends and not interrupt.is_hardware(step):
            fault = strike(self.mended, cpu, _rest(step, begin), platform)
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

    def take(self, step: PlanStep, foreseen: PageFault | None) -> None:
        """Mend what keeps ``step`` from its end, as far as that can be done in the tables.

        ``foreseen``: the fault of its access in the tables as they are, before any mend.
        """
        begin, mends = step.virt, 0
        if foreseen is not None:
            self._strike_again(step, foreseen)
        while (refusal := self.refusal(step, begin, foreseen)) is not None:
            self.first = self.first or Failure(step, refusal.raised, refusal.chain)
            if refusal.fault is None or self.mended.leads_to_unknown(refusal.fault.reason, refusal.fault.guilty):
                return
            if mends == _MOST_MENDS_PER_STEP:
                self._say_that_it_goes_on()
                return
            part = extent(self.intent, refusal.fault.virt, refusal.kind)
            mend = self.mender.mend(self.mended, refusal.kind, refusal.fault, part)
            self.strikes.extend(self._strikes(step, refusal, refusal.fault, mend))
            if mend is None:
                return
            mends += 1
            self.mends[_key(part, refusal.fault)] = mend
            if refusal.chain is None:
                begin = refusal.fault.virt

    def _strike_again(self, step: PlanStep, fault: PageFault) -> None:
        """Note a step that an entry refuses which was mended before, together with another's."""
        if {entry.phys for entry in fault.guilty} & self._struck:
            return
        mend = self.mends.get(_key(extent(self.intent, fault.virt, step.kind), fault))
        if mend is not None:
            raised = exception(step, fault, self.registers.rsp, self.mender.cpu.cr3, self.mender.platform)
            again = _Refusal(Target.PLAN, step.kind, fault, raised)
            self.strikes.extend(self._strikes(step, again, fault, mend))

    @property
    def _struck(self) -> set[int]:
        return {one.culprit.phys for one in self.strikes if one.culprit}

    def _say_that_it_goes_on(self) -> None:
        last = self.strikes[-1]
        assert last.mend is not None
        self.strikes[-1] = replace(last, mend=replace(last.mend, goes_on=True))

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


def _rest(step: PlanStep, begin: int) -> PlanStep:
    """The step from ``begin`` on, which is not aligned like the whole."""
    done = begin - step.virt
    return replace(step, virt=begin, width=step.width - done, align=1) if 0 < done < step.width else step


def run(
    delivery: Delivery, plan: Sequence[tuple[PlanStep, PageFault | None]], mender: Mender, intent: Intent, registers: Registers
) -> Rounds:
    """Mend the tables step by step; a mend only adds rights, so that no earlier step can break.

    ``plan``: as it is ``foreseen`` in the tables of ``delivery``.
    """
    going = _Run(delivery, mender, intent, registers, Overlay(delivery.tables, mender.cpu.max_phys_bits))
    for step, fault in plan:
        going.take(step, None if interrupt.is_hardware(step) else fault)
    return Rounds(tuple(going.strikes), going.mended, going.first)
