"""Everything that can be told of one boot before the switch: its strikes, in order, and its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.planned_switch import PlannedSwitch
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot
from cr3scope.model import rounds, scan
from cr3scope.model.delivery import Delivery
from cr3scope.model.intent import Intent
from cr3scope.model.mend import Mender
from cr3scope.model.plan import foreseen
from cr3scope.model.plan_outcome import PlanOutcome, refused_cr3
from cr3scope.model.prediction import Prediction
from cr3scope.model.strike import Strike
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import walk
from cr3scope.target.contents import RecordedBytes
from cr3scope.target.overlay import Overlay
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers


@dataclass(frozen=True, slots=True)
class PlanPrediction:
    """The model's account of a boot. ``strikes``: the plan's first, then the safety net, then ranges."""

    cpu: CpuState
    platform: Platform
    registers: Registers
    tables: Tables
    mended: Overlay
    strikes: tuple[Strike, ...]
    prediction: Prediction


def predict_plan(switch: PlannedSwitch, intent: Intent, platform: Platform = Platform.HARDWARE) -> PlanPrediction:
    """Carry the plan through the model. ``intent``: of the boot whose switch it is."""
    boot, cpu, registers, tables = intent.boot, switch.cpu, switch.registers, switch.tables
    if cpu.cr3_reserved:
        mended = Overlay(tables, cpu.max_phys_bits)
        return PlanPrediction(cpu, platform, registers, tables, mended, (), refused_cr3(cpu, platform))
    plan = foreseen(tables, cpu, switch.plan, platform)
    firmware = Firmware.of(boot)
    memory = RecordedBytes(boot, firmware.frame_of)

    def frame_of(virt: int) -> int | None:
        named = intent.frame_of(virt)
        return firmware.frame_of(virt) if named is None else named

    delivery = Delivery(tables, cpu, memory, platform)
    mender = Mender(cpu, intent, frame_of, platform)
    judged = rounds.run(delivery, plan, mender, intent, registers)
    prediction = PlanOutcome(boot, intent, delivery, switch.plan, registers).prediction(judged.first)
    strikes = [
        *judged.strikes,
        *_of_the_dump(judged.mended, scan.safety_net(replace(delivery, tables=judged.mended), registers)),
        *scan.ranges(tables, cpu, intent, platform),
    ]
    return PlanPrediction(cpu, platform, registers, tables, judged.mended, tuple(strikes), prediction)


def _of_the_dump(mended: Overlay, strikes: Iterable[Strike]) -> Iterator[Strike]:
    """Strikes in mended tables, each with the entry that was dumped: a mend's own tables are nobody's."""
    for one in strikes:
        if one.culprit is None:
            yield one
        elif not mended.leads_to_unknown(one.reason, (one.culprit,)):
            yield replace(one, culprit=mended.origin(one.culprit))


@dataclass(frozen=True, slots=True)
class Firmware:
    """The tables under which the loader ran: they say where its addresses lead."""

    tables: Tables | None
    cpu: CpuState | None

    @classmethod
    def of(cls, boot: Boot) -> Firmware:
        record, dump = boot.cpus.get("entry"), boot.dumps.get("old")
        if record is None or dump is None:
            return cls(None, None)
        return cls(DumpTables(dump), replace(cpu_state(record), cr3=dump.cr3))

    def frame_of(self, virt: int) -> int | None:
        """Return the 4 KiB frame behind ``virt`` before the switch; None if it was not mapped."""
        if self.tables is None or self.cpu is None:
            return None
        phys = walk(self.tables, self.cpu, virt).phys
        return None if phys is None else phys & PAGE_FRAME
