"""How another CPU fares on its way from the start-up interrupt to 64-bit code, followed in what a trace tells of it."""

from __future__ import annotations

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import Boot
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.model.start_up import block_of, started_cpu
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import mode_switch_at
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.decode.instruction import can_decode
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode_switch import SwitchKind
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers

_OF_STATE = (SwitchKind.CR0, SwitchKind.CR4, SwitchKind.MSR)


@dataclass(frozen=True, slots=True)
class ApStart:
    """The CPU at its first instruction, and its way as it is foreseen; ``first``: the boot CPU behind its switch."""

    now: StoppedCpu
    seen: CodePrediction
    first: CpuState

    @property
    def paged(self) -> CpuState | None:
        """Return the control registers with which it turns paging on; None if it does not come so far."""
        return next((step.cpu for step in self.seen.steps if step.cpu is not None), None)

    @property
    def is_left_changing(self) -> bool:
        """Return whether its known way ends, under paging, where it changes CR0, CR4 or an MSR: to what, nobody knows."""
        if self.paged is None or self.seen.refused is not None:
            return False
        return mode_switch_at(self.now.with_state(self.paged), self.last.pc, self.seen.bits) in _OF_STATE

    @property
    def last(self) -> Registers:
        """Return the registers at the last instruction that is known."""
        if self.seen.own is not None:
            return self.seen.own.registers
        return self.seen.last if self.seen.refused is None else self.seen.refused.registers


def ap_start(boot: Boot, first: CpuState) -> ApStart | None:
    """Return the way of the other CPUs; None where the trace does not tell it, or they run something else than was meant.

    ``first``: the boot CPU behind its switch. By the manual, whatever emulator it ran under: what one of them lets pass is
    wrong all the same.
    """
    block = block_of(boot)
    if block is None or not can_decode() or not is_sent_to_code(boot) or block[0].differs is not None:
        return None
    now = started_cpu(boot, first, Platform.HARDWARE)
    return None if now is None else ApStart(now, predict_code(now), first)


def is_sent_to_code(boot: Boot) -> bool:
    """Return whether the start-up interrupt's vector names the page of the code."""
    return boot.startup is not None and boot.startup.vector * PAGE_BYTES == boot.startup.code
