"""The switch that a boot's trace has planned, or what it does not tell of that."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot, PlanStep
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.registers import Registers


class Lack(Enum):
    """A part of the trace without which nobody knows what is switched to."""

    STATE = auto()  # that the CPU is given
    TABLES = auto()
    TOP_TABLE = auto()
    PLAN = auto()


@dataclass(frozen=True, slots=True)
class PlannedSwitch:
    """State, registers and tables behind the switch, and the accesses that follow, in their order."""

    cpu: CpuState
    registers: Registers
    tables: DumpTables
    plan: list[PlanStep]


def planned_switch(boot: Boot) -> PlannedSwitch | None:
    """Return the switch that a boot has planned; None if something is :func:`lacking`."""
    if any(lacking(boot)):
        return None
    record = boot.cpus["handoff"]
    plan = sorted(boot.plan, key=lambda step: step.step)
    return PlannedSwitch(cpu_state(record), Registers.of(record.registers), DumpTables(boot.dumps["new"]), plan)


def lacking(boot: Boot) -> Iterator[Lack]:
    """Yield what a boot's trace does not tell of its switch.

    A top table that the writer could not read is lacking too: what the CPU finds there nobody knows. Bits of CR3 that the CPU
    itself refuses need no table.
    """
    record, dump = boot.cpus.get("handoff"), boot.dumps.get("new")
    if record is None:
        yield Lack.STATE
    if dump is None:
        yield Lack.TABLES
    elif dump.root_is_unreadable and (record is None or not cpu_state(record).cr3_reserved):
        yield Lack.TOP_TABLE
    if not boot.plan:
        yield Lack.PLAN
