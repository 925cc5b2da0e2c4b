"""What becomes of the plan in the tables as they are: the first exception, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import Boot, PlanStep
from cr3scope.message import Hex, Message, message
from cr3scope.model import interrupt
from cr3scope.model.delivery import Delivery
from cr3scope.model.entry_bytes import stop_at_entry
from cr3scope.model.intent import Intent
from cr3scope.model.machine import Chain, carry
from cr3scope.model.plan import registers_at
from cr3scope.model.prediction import Prediction
from cr3scope.model.role import Role
from cr3scope.model.rounds import Failure
from cr3scope.model.stray import first_stray
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.ending import Ending
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.registers import Registers

_SWITCH = message("{role}", role=Role.SWITCH)


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """One boot, its plan in order, and the tables and registers that it meets."""

    boot: Boot
    intent: Intent
    delivery: Delivery
    plan: Sequence[PlanStep]
    registers: Registers

    def prediction(self, failed: Failure | None) -> Prediction:
        """Return what the CPU will do. ``failed``: the first step that does not come to its end, None if all do."""
        tables, cpu, platform = self.delivery.tables, self.delivery.cpu, self.delivery.platform
        done = self.plan if failed is None else self.plan[: self.plan.index(failed.step)]
        stray = first_stray(tables, cpu, done, self.intent, platform)
        own = done if stray is None else done[: done.index(stray.step)]
        stop = stop_at_entry(self.boot, tables, cpu, own, platform)
        if stop is not None:
            prediction = self._ends(stop.step, stop.fault, None, (stop.why,))
        elif failed is not None:
            prediction = self._ends(failed.step, failed.raised, failed.chain)
        else:
            prediction = self._interrupted()
        if stray is None:
            return prediction
        return replace(prediction, diverges=stray.step.step, diverges_words=stray.why)

    def _ends(
        self, step: PlanStep, first: Fault, chain: Chain | None, words: tuple[Message, ...] = ()
    ) -> Prediction:
        if chain is None:
            chain = carry(self.delivery, first.vector, registers_at(step, self.registers, first.rip))
        words = (*words, *chain.words)
        return Prediction(False, Message(step.name), first, chain.ends, words, step.step)

    def _interrupted(self) -> Prediction:
        """The plan survives, unless interrupts are on and none can be delivered."""
        chain = interrupt.unmasked(self.delivery, self.plan, self.registers)
        if chain is None:
            return Prediction(survives=True)
        raised = chain.faults[0]
        first = Fault(raised.vector, raised.error_code, None, None, self.delivery.cpu.cr3)
        return Prediction(False, Message("an interrupt"), first, chain.ends, chain.words)


def refused_cr3(cpu: CpuState, platform: Platform) -> Prediction:
    """Return the prediction for a CR3 with reserved bits: it never comes into force (SDM 3A, 2.5).

    TCG repeats the instruction without end and logs nothing (seen with QEMU 7.2).
    """
    cr3 = Hex(cpu.cr3)
    if platform.has(Quirk.RESERVED_CR3_HANGS):
        words = "CR3={cr3} has reserved bits: QEMU repeats the instruction without end, and logs nothing"
        return Prediction(False, _SWITCH, None, Ending.HANG, (message(words, cr3=cr3),))
    words = "CR3={cr3} has reserved bits: raised by the instruction itself, under the old tables"
    raised = Fault(exceptions.PROTECTION, 0, None, None)
    return Prediction(False, _SWITCH, raised, None, (message(words, cr3=cr3),))
