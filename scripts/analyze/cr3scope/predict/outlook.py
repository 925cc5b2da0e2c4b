"""What becomes of the plan in the tables as they are: the first exception, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cr3scope import exceptions
from cr3scope.capture.records import Boot, PlanStep
from cr3scope.paging.platform import Platform, Quirk
from cr3scope.predict import interrupt
from cr3scope.predict.delivery import Delivery, Registers
from cr3scope.predict.entry_bytes import stop_at_entry
from cr3scope.predict.intent import Intent
from cr3scope.predict.machine import Chain, carry
from cr3scope.predict.rounds import Failure
from cr3scope.predict.stray import first_stray
from cr3scope.verdict import Ending, Fault, Prediction

_MOV_CR3 = "mov cr3"


@dataclass(frozen=True, slots=True)
class Outlook:
    """One boot, its plan in order, and the tables and registers that it meets."""

    boot: Boot
    intent: Intent
    delivery: Delivery
    plan: Sequence[PlanStep]
    registers: Registers

    def prediction(self, failed: Failure | None) -> Prediction:
        """``failed``: the first step that does not come to its end."""
        tables, cpu, platform = self.delivery.tables, self.delivery.cpu, self.delivery.platform
        done = self.plan if failed is None else self.plan[: self.plan.index(failed.step)]
        stray = first_stray(tables, cpu, done, self.intent, platform)
        own = done if stray is None else done[: done.index(stray.step)]
        stop = stop_at_entry(self.boot, tables, cpu, own, platform)
        if stop is not None:
            prediction = self._ends(stop.step, stop.fault, None, (stop.words,))
        elif failed is not None:
            prediction = self._ends(failed.step, failed.raised, failed.chain)
        else:
            prediction = self._interrupted()
        if stray is None:
            return prediction
        return replace(prediction, diverges=stray.step.step, diverges_words=stray.words)

    def refused_cr3(self) -> Prediction:
        """Of a CR3 with reserved bits: it never comes into force (SDM 3A, 2.5).

        TCG repeats the instruction without end and logs nothing (seen with QEMU 7.2).
        """
        value = f"CR3={self.delivery.cpu.cr3:#x} has reserved bits"
        if self.delivery.platform.has(Quirk.RESERVED_CR3_HANGS):
            words = f"{value}: QEMU repeats the instruction without end, and logs nothing"
            return Prediction(False, _MOV_CR3, None, Ending.HANG, (words,))
        words = f"{value}: raised by the instruction itself, under the old tables"
        return Prediction(False, _MOV_CR3, Fault(exceptions.PROTECTION, 0, None, None), None, (words,))

    def _ends(
        self, step: PlanStep, first: Fault, chain: Chain | None, words: tuple[str, ...] = ()
    ) -> Prediction:
        if chain is None:
            chain = carry(self.delivery, first.vector, self.registers.at(step, first.rip))
        words = (*words, *chain.words)
        return Prediction(False, step.name, first, chain.ends, words, step.step)

    def _interrupted(self) -> Prediction:
        """The plan survives, unless interrupts are on and none can be delivered."""
        chain = interrupt.unmasked(self.delivery, self.plan, self.registers)
        if chain is None:
            return Prediction(survives=True)
        raised = chain.faults[0]
        first = Fault(raised.vector, raised.error_code, None, None, self.delivery.cpu.cr3)
        return Prediction(False, "an interrupt", first, chain.ends, chain.words)
