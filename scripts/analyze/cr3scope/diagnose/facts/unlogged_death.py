"""What a CPU met where nobody logs exceptions: of one that a triple fault has stopped, the registers are those of its last instruction."""

from __future__ import annotations

from cr3scope.model.code_prediction import predict_code
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import PAGE_FAULT


def unlogged_death(cpu: StoppedCpu) -> Fault | None:
    """Return the exception that the instruction at RIP cannot but raise, if it cannot be delivered, and neither can a double fault.

    A page fault must have left its address in CR2. None of a CPU in real mode: where the registers are lost in a shutdown, KVM leaves those of a reset.
    """
    if cpu.mode is CpuMode.REAL:
        return None
    seen = predict_code(cpu)
    fault, chain = seen.fault, seen.chain
    if fault is None or fault.rip != cpu.rip or chain is None or chain.ends is not Ending.TRIPLE_FAULT:
        return None
    return fault if fault.vector != PAGE_FAULT or fault.cr2 == cpu.registers.get("CR2") else None
