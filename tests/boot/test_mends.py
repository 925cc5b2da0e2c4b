"""Each mend that a verdict names does what it is named for: carried out in a model of the tables, row by row.

`make test` takes a sample of the rows, CI all. The same in a guest: tests/gdb/test_gdb_mends.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from boot.fault_rows import Row, of_row, rows
from boot.mending import TRIED, Mended, left_free
from boot.reference import sample
from boot.shared_run import shared_run

from cr3scope.input.capture.planned_switch import planned_switch
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Boot
from cr3scope.model import rounds
from cr3scope.model.delivery import Delivery
from cr3scope.model.intent import Intent
from cr3scope.model.mend import Mender
from cr3scope.model.plan import foreseen
from cr3scope.model.plan_prediction import Firmware, PlanPrediction, predict_plan
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Translation, access
from cr3scope.target.contents import RecordedBytes
from cr3scope.x86.access import AccessKind
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.platform import Platform

EVERY = 5  # of how many rows `make test` takes one
UNDUMPED = {"reserved-bits:stack-pdpt"}  # the mended entry leads to a table that no dump holds: a guest tells


@dataclass(frozen=True, slots=True)
class Traced:
    """What a boot's trace tells, and what the model makes of it."""

    boot: Boot
    intent: Intent
    predicted: PlanPrediction

    def failure(self, tables: Tables) -> rounds.Failure | None:
        """Return the first step of the plan that does not come to its end in other tables; None if all do."""
        memory = RecordedBytes(self.boot, Firmware.of(self.boot).frame_of)
        delivery = Delivery(tables, self.predicted.cpu, memory, self.predicted.platform)
        mender = Mender(self.predicted.cpu, self.intent, lambda _virt: None, self.predicted.platform)
        plan = foreseen(tables, self.predicted.cpu, sorted(self.boot.plan, key=lambda step: step.step), self.predicted.platform)
        return rounds.run(delivery, plan, mender, self.intent, self.predicted.registers).first


def traced(serial: bytes) -> Traced | None:
    boot = read_capture(serial).boots[-1]
    intent = Intent(boot)
    switch = planned_switch(boot)
    return None if switch is None else Traced(boot, intent, predict_plan(switch, intent, Platform.TCG))


@pytest.mark.parametrize("row", sample(rows(), EVERY), ids=lambda row: row.inject)
def test_each_mend_lets_the_plan_come_to_where_the_next_finding_strikes(row: Row) -> None:
    run = shared_run(**of_row(row, "safe"))
    findings = [one for one in run.verdict["findings"] if one["severity"] == "error"]
    told = traced(run.serial)
    if told is None:
        assert not any(one["mends"] for one in findings), run.explain()
        return
    mended = Mended(told.predicted.tables, told.predicted.cpu, left_free(told.boot))
    striking = [one for one in findings if one["step"] is not None and one["step"] >= 0 and "raises" in one["facts"]]
    for finding in striking:
        failure = told.failure(mended)
        assert failure is not None, finding["title"]
        assert failure.step.step == finding["step"], finding["title"]
        raised, said = failure.raised, finding["facts"]["raises"]
        assert (raised.vector, raised.error_code) == (said["vector"], said["error_code"]), finding["title"]
        assert raised.cr2 == (said["cr2"] and int(said["cr2"], 0)), finding["title"]
        if not finding["mends"]:
            return  # it is not the tables that are to be mended
        assert finding["rule"] in TRIED, "no row of the rule is tried in a guest"
        mended.carry_out(finding["mends"])
    assert not any(one["mends"] for one in findings if one not in striking), run.explain()
    if mended.written:
        failure = told.failure(mended)
        # An int3's handler of the firmware runs, and does not return.
        goes_on = failure is None or (failure.chain is not None and failure.chain.is_straight)
        assert goes_on is (row.inject not in UNDUMPED), failure
        assert_harmless(told, mended)


def assert_harmless(told: Traced, mended: Mended) -> None:
    """No page is mapped to memory that nobody named for it, and nothing but code became executable."""
    firmware = Firmware.of(told.boot)
    for virt, phys in mended.mapped.items():
        assert phys in frames_named(told.boot, virt) or phys == firmware.frame_of(virt), hex(virt)
    cpu, before = told.predicted.cpu, told.predicted.tables
    for virt in data_pages(told.boot):
        now = access(mended, cpu, virt, AccessKind.FETCH)
        if isinstance(now, Translation):
            assert isinstance(access(before, cpu, virt, AccessKind.FETCH), Translation), f"{virt:#x} became executable"


def frames_named(boot: Boot, virt: int) -> set[int]:
    """Every frame that the trace names for a page."""
    named: list[Any] = [*boot.maps, *boot.regions, *boot.segments]
    found = {(one.phys + virt - one.virt) & -PAGE_BYTES for one in named if one.phys is not None and one.virt & -PAGE_BYTES <= virt <= one.last}
    return found | {virt for image in boot.images if image.base <= virt < image.base + image.size}


def data_pages(boot: Boot) -> Iterator[int]:
    """Pages of what the kernel's file or the loader calls data, and that hold no code."""
    code = [(one.virt, one.last) for one in boot.segments if "x" in one.flags]
    code += [(image.base + image.text, image.base + image.text + image.text_size - 1) for image in boot.images]
    named: list[Any] = [one for one in boot.segments if "x" not in one.flags]
    named += [one for one in boot.regions if one.role not in ("text", "trampoline")]
    for one in named:
        for virt in range(one.virt & -PAGE_BYTES, one.last + 1, PAGE_BYTES):
            if not any(first <= virt + PAGE_BYTES - 1 and virt <= last for first, last in code):
                yield virt


def test_every_rule_that_is_tried_in_a_guest_has_its_row() -> None:
    rule_of = {row.inject: row.rule for row in rows()}
    assert {inject: rule_of[inject] for inject in TRIED.values()} == {inject: rule for rule, inject in TRIED.items()}
