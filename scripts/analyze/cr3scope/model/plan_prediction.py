"""Everything that can be told of one boot before the switch: its strikes, in order, and its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot
from cr3scope.model import rounds, scan
from cr3scope.model.delivery import Delivery
from cr3scope.model.intent import Intent
from cr3scope.model.mend import Mender
from cr3scope.model.plan_outcome import PlanOutcome
from cr3scope.model.prediction import Prediction
from cr3scope.model.strike import Strike
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Translation, access
from cr3scope.target.contents import RecordedBytes
from cr3scope.target.overlay import Overlay
from cr3scope.x86.access import AccessKind
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


def predict_plan(boot: Boot, intent: Intent, platform: Platform = Platform.HARDWARE) -> PlanPrediction | None:
    """Carry the plan through the model; return None if the trace lacks the CPU's state or the new tables.

    A top table that the writer could not read is lacking too: what the CPU finds there nobody knows. Bits of CR3 that the CPU
    itself refuses need no table.
    """
    record, dump = boot.cpus.get("handoff"), boot.dumps.get("new")
    if record is None or dump is None or not boot.plan or (dump.root_is_unreadable and not cpu_state(record).cr3_reserved):
        return None
    cpu, registers, tables = cpu_state(record), Registers.of(record.registers), DumpTables(dump)
    firmware = Firmware.of(boot)
    memory = RecordedBytes(boot, firmware.frame_of)

    def frame_of(virt: int) -> int | None:
        named = intent.frame_of(virt)
        return firmware.frame_of(virt) if named is None else named

    delivery = Delivery(tables, cpu, memory, platform)
    plan = sorted(boot.plan, key=lambda step: step.step)
    outcome = PlanOutcome(boot, intent, delivery, plan, registers)
    if cpu.cr3_reserved:
        mended = Overlay(tables, cpu.max_phys_bits)
        return PlanPrediction(cpu, platform, registers, tables, mended, (), outcome.refused_cr3())
    mender = Mender(cpu, intent, frame_of, platform)
    judged = rounds.run(delivery, plan, mender, intent, registers)
    prediction = outcome.prediction(judged.first)
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
        found = access(self.tables, self.cpu, virt, AccessKind.READ, implicit=True)
        return found.phys & PAGE_FRAME if isinstance(found, Translation) else None
