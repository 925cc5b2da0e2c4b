"""Of several CPUs the one that died, or that hangs, is judged."""

from __future__ import annotations

from typing import cast

from cr3scope.diagnose.facts.judged import in_order
from cr3scope.input.logs.log_report import LogReport
from cr3scope.target.standstill import LOOKS
from cr3scope.target.memory import Memory
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

PROTECTED = 0x8001_0033


def cpu(number: int, **registers: int) -> StoppedCpu:
    memory = cast(Memory, None)  # none of these is asked for it
    return StoppedCpu(memory, {"CR0": PROTECTED, **registers}, number=number)


def died(rip: int, cr3: int) -> LogReport:
    fault = Fault(14, 2, 0x10, rip, cr3)
    return LogReport(first=fault, fatal=fault, ending=Ending.TRIPLE_FAULT)


def first(cpus: list[StoppedCpu], report: LogReport | None, **more: bool) -> int:
    return in_order(cpus, report, **more)[0].number


def test_the_cpu_that_stands_at_the_fatal_exception_died() -> None:
    cpus = [cpu(0, RIP=0x1000, CR3=0x5000), cpu(1, RIP=0x2000, CR3=0x5000)]
    assert first(cpus, died(0x2000, 0x5000)) == 1
    assert first(cpus, died(0x1000, 0x5000)) == 0


def test_the_same_code_under_other_tables_did_not() -> None:
    cpus = [cpu(0, RIP=0x2000, CR3=0x9000), cpu(1, RIP=0x2000, CR3=0x5000)]
    assert first(cpus, died(0x2000, 0x5000)) == 1


def test_without_a_match_it_is_the_boot_cpu() -> None:
    cpus = [cpu(0, RIP=1), cpu(1, RIP=2), cpu(2, RIP=3)]
    assert first(cpus, died(0x7000, 0x5000)) == first(cpus, None) == 0


def test_a_death_without_a_record_was_in_real_mode() -> None:
    cpus = [cpu(0, RIP=1), cpu(1, CR0=0x10, EIP=7)]
    assert first(cpus, LogReport(), triple_fault=True) == 1
    assert first(cpus, LogReport()) == 0


def test_a_cpu_that_spins_is_judged_before_parked_ones() -> None:
    parked = {"RIP": 0x100, "RFL": 2, "HLT": 1}
    spins = {"RIP": 0x200, "RFL": 2, "HLT": 0}
    looks = [(parked, spins)] * LOOKS
    assert in_order([cpu(0, **parked), cpu(1, **spins)], None, looks)[0].number == 1
