"""Accesses that go through and lead astray, and what the machine may then do."""

from __future__ import annotations

from dataclasses import replace

import boot_builder as b
import pytest
from boot_builder import healthy
from step_scenes import PUSH, fits, judged, predicted, with_step, wrong_frame

from cr3scope.diagnose.observation import Observation
from cr3scope.input.capture.records import FaultRecord
from cr3scope.input.logs.log_report import LogReport
from cr3scope.render import json as json_form, message, text
from cr3scope.verdict.observation import agree
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.ending import Ending


@pytest.mark.parametrize(
    ("virt", "at", "phys", "step"),
    [
        (b.KERNEL, b.ENTRY, b.KERNEL_PHYS + b.PAGE, 2),
        (b.INFO, b.INFO, b.STACK_PHYS, 3),
        (b.STACK_TOP - b.PAGE, b.STACK_TOP - 8, b.INFO_PHYS, 1),
    ],
)
def test_a_wrong_frame_is_told_at_the_first_step_that_meets_it(
    virt: int, at: int, phys: int, step: int
) -> None:
    prediction = predicted(wrong_frame(virt, phys))
    assert prediction.survives
    assert prediction.diverges == step
    assert f"{at:#x} leads to {phys + at % b.PAGE:#x}, not 0x" in message.text(prediction.diverges_words)


def test_a_wrong_frame_behind_a_fault_is_not_met() -> None:
    scene = wrong_frame(b.INFO, b.STACK_PHYS)
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    assert predicted(scene).diverges is None


def test_a_wrong_frame_before_a_fault_is_told_with_it() -> None:
    scene = wrong_frame(b.KERNEL, b.KERNEL_PHYS + b.PAGE)
    scene.unmap(b.INFO)
    prediction = predicted(scene)
    assert (prediction.diverges, prediction.number) == (2, 3)


def test_a_later_page_of_a_wide_step_is_looked_at_too() -> None:
    scene = wrong_frame(b.KERNEL + b.PAGE, b.INFO_PHYS)
    with_step(scene, 3, kind=AccessKind.READ, virt=b.ENTRY, width=0x2000, rip=b.ENTRY)
    prediction = predicted(scene)
    assert prediction.diverges == 3
    assert f"{b.KERNEL + b.PAGE:#x} leads to {b.INFO_PHYS:#x}" in message.text(prediction.diverges_words)


def test_a_range_mapped_elsewhere_than_its_segment_was_loaded_leads_astray() -> None:
    scene = healthy()
    wrong = b.KERNEL_PHYS + 0x10_0000
    scene.tables.map(b.KERNEL, wrong, 3 * b.PAGE, "r-x")
    scene.boot.maps[2] = replace(scene.boot.maps[2], phys=wrong)
    assert scene.boot.maps[2].name == "kernel.text"
    assert predicted(scene).diverges == 2


def test_large_pages_lead_where_they_are_meant_to() -> None:
    scene = healthy()
    inside = b.FRAMEBUFFER + 0x12_3456
    with_step(scene, 5, kind=AccessKind.WRITE, virt=inside, width=0x5000, rip=b.ENTRY)
    assert predicted(scene).diverges is None


def test_one_page_of_a_large_page_can_lead_astray() -> None:
    scene = healthy()
    one = b.FRAMEBUFFER + 0x3000
    record = next(record for record in scene.boot.maps if record.name == "framebuffer")
    scene.boot.maps.append(replace(record, virt=one, last=one + 0xFFF, phys=0x9000_0000))
    with_step(scene, 5, kind=AccessKind.WRITE, virt=one - 0x1000, width=0x3000, rip=b.ENTRY)
    prediction = predicted(scene)
    assert prediction.diverges == 5
    assert f"{one:#x} leads to {b.FRAMEBUFFER_PHYS + 0x3000:#x}, not" in message.text(prediction.diverges_words)


def test_a_write_into_memory_that_is_something_else_as_well_leads_astray() -> None:
    scene = healthy()
    stack = next(record for record in scene.boot.maps if record.role == "stack")
    over_text = b.KERNEL_PHYS - 3 * b.PAGE  # the highest page of the stack is the first of the text
    scene.boot.maps[scene.boot.maps.index(stack)] = replace(stack, phys=over_text)
    scene.tables.map(stack.virt, over_text, 4 * b.PAGE, "rw-")
    prediction = predicted(scene)
    assert prediction.survives
    assert prediction.diverges == 1
    there = f"{b.STACK_TOP - 8:#x} leads to {b.KERNEL_PHYS + 0xFF8:#x}, where "
    assert there in message.text(prediction.diverges_words)
    assert "segment 0" in message.text(prediction.diverges_words) and "stack0" in message.text(prediction.diverges_words)
    scene.boot.plan[1] = replace(scene.boot.plan[1], kind=AccessKind.READ)
    assert predicted(scene).diverges is None  # nothing is overwritten


@pytest.mark.parametrize(
    ("observation", "failed", "agreed"),
    [
        (Observation(Ending.HANG), 0, True),
        (Observation(Ending.HANDLED, Fault(6, None, None, 0xE0000)), 0, True),
        (Observation(Ending.HANDLED, Fault(14, 0, 0x1234, b.ENTRY)), 0, True),
        (Observation(Ending.HANDLED, Fault(14, 0x10, b.HANDOFF, b.HANDOFF)), 0, False),
        (Observation(Ending.HANDLED, Fault(14, 2, b.STACK_TOP - 8, PUSH)), 0, False),
        (Observation(Ending.HANDLED, Fault(14, 2, b.STACK_TOP - 8, b.ENTRY + 9)), 0, True),
        (Observation(Ending.HANDLED, Fault(13, 0, None, b.HANDOFF + 1)), 0, False),
        (Observation(Ending.HANDLED, Fault(13, 0, None, PUSH)), 0, False),
        (Observation(Ending.HANDLED, Fault(13, 0, None, b.ENTRY)), 0, True),
        (Observation(None), 0, None),
        (Observation(None), 1, True),
    ],
)
def test_any_trouble_from_the_astray_step_on_agrees_but_none_before(
    observation: Observation, failed: int, agreed: bool | None
) -> None:
    scene = wrong_frame(b.KERNEL, b.KERNEL_PHYS + b.PAGE)
    scene.boot.plan[1] = replace(scene.boot.plan[1], rip=PUSH)
    scene.boot.summary = (12 - failed, failed)
    assert agree(predicted(scene), observation, scene.boot) is agreed


def test_a_kernel_without_a_summary_had_trouble() -> None:
    scene = wrong_frame(b.KERNEL, b.KERNEL_PHYS + b.PAGE)
    assert agree(predicted(scene), Observation(None), scene.boot) is True


def test_an_address_that_later_steps_touch_as_well_may_fail_then() -> None:
    scene = wrong_frame(b.KERNEL, b.KERNEL_PHYS + b.PAGE)
    again = replace(scene.boot.plan[1], step=5, name="another push")
    scene.boot.plan.append(again)
    seen = Observation(Ending.HANDLED, Fault(14, 2, b.STACK_TOP - 8, b.ENTRY))
    assert agree(predicted(scene), seen, scene.boot) is True


def test_both_forms_of_the_report_tell_an_astray_step() -> None:
    scene = wrong_frame(b.KERNEL, b.KERNEL_PHYS + b.PAGE)
    registers = {"vector": 6, "error": 0, "cr2": 0, "cr3": b.ROOT, "rip": b.ENTRY + 0x44}
    scene.boot.faults.append(FaultRecord(0, "kernel", registers))
    verdict = judged(scene)
    assert verdict.agreement is True
    assert text.render(verdict).startswith(f"FAULTED: #UD at RIP={b.ENTRY + 0x44:#x}")
    prediction = json_form.as_dict(verdict)["prediction"]
    assert isinstance(prediction, dict)
    assert (prediction["outcome"], prediction["diverges"]) == ("survives", 2)
    assert prediction["diverges_words"].startswith("from step 2")
    scene.unmap(b.INFO)
    assert text.render(judged(scene)).startswith(f"FAULTED: #UD at RIP={b.ENTRY + 0x44:#x}")


def test_the_report_says_where_the_bytes_begin_to_be_others() -> None:
    report = text.render(judged(wrong_frame(b.KERNEL, b.KERNEL_PHYS + b.PAGE)))
    flat = " ".join(report.split())
    assert "from step 2 (fetch at kernel entry) on the bytes are not those that were meant" in flat
    assert fits(report)


# --- What the plan does not reach ---


def test_a_kernel_that_hangs_after_the_plan_is_not_compared() -> None:
    verdict = judged(healthy(), LogReport(ending=Ending.HANG))
    assert verdict.agreement is None
    assert "unexplained-fault" not in [finding.rule for finding in verdict.findings]


def test_an_exception_under_the_old_tables_is_not_compared() -> None:
    scene = healthy()
    old = Observation(Ending.HANDLED, Fault(14, 3, 0x1000, b.LOADER, 0x0080_0000))
    flagged = Observation(Ending.HANDLED, Fault(14, 3, 0x1000, b.LOADER, b.ROOT | 0x18))
    assert agree(predicted(scene), old, scene.boot) is None
    assert agree(predicted(scene), flagged, scene.boot) is False
