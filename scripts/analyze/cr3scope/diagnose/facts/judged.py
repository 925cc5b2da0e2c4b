"""Which CPU of several the verdict is about."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.input.logs.log_report import LogReport
from cr3scope.target.standstill import Look, by_cpu, is_spinning
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CR0_PE
from cr3scope.x86.entry import PAGE_BYTES


def in_order(
    cpus: Sequence[StoppedCpu],
    report: LogReport | None,
    looks: Sequence[Look] = (),
    triple_fault: bool = False,
) -> list[StoppedCpu]:
    """Return the CPUs, the one to judge first.

    That is the CPU which still stands where the log's fatal exception came (a triple fault stops the machine
    before it resets), or has its stack right below where that came; one in real mode, if a triple fault has no record in the log; of CPUs that hang one that
    spins, since parked ones are halted in every healthy boot; else the first.
    """
    fault = (report.fatal or report.first) if report is not None else None
    unseen = triple_fault and fault is None
    spinning = [is_spinning(seen, interrupted=False) for seen in by_cpu(looks)]

    took = _nearest_stack(cpus, fault)

    def rank(cpu: StoppedCpu) -> tuple[bool, bool, bool, bool, int]:
        died = fault is not None and fault.rip is not None and cpu.rip == fault.rip
        if died and fault is not None and fault.cr3 is not None:
            died = cpu.cpu.cr3 == fault.cr3
        in_real_mode = unseen and not cpu.registers.get("CR0", CR0_PE) & CR0_PE
        spins = cpu.number < len(spinning) and spinning[cpu.number]
        return not died, took is not cpu, not in_real_mode, not spins, cpu.number

    return sorted(cpus, key=rank)


def _nearest_stack(cpus: Sequence[StoppedCpu], fault: Fault | None) -> StoppedCpu | None:
    """The CPU whose stack goes on, within a page, from where the exception came; None if two are as near, or none is."""
    if fault is None or fault.rsp is None:
        return None
    below = sorted(((fault.rsp - cpu.rsp, cpu.number, cpu) for cpu in cpus if 0 <= fault.rsp - cpu.rsp < PAGE_BYTES), key=lambda one: one[:2])
    if not below or len(below) > 1 and below[0][0] == below[1][0]:
        return None
    return below[0][2]
