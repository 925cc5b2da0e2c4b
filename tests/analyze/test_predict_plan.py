"""The plan carried through the model: the first exception, exact to the bit."""

from __future__ import annotations

import boot_builder as b
import pytest
from boot_builder import Scene, healthy

from cr3scope.input.capture.records import PlanStep
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.access import AccessKind, Fault


def predicted(scene: Scene) -> Prediction:
    prediction = analyze(scene.capture()).prediction
    assert prediction is not None
    return prediction


def first(scene: Scene) -> Fault:
    fault = predicted(scene).first
    assert fault is not None
    return fault


def with_step(kind: AccessKind, virt: int, width: int, rip: int) -> Scene:
    scene = healthy()
    scene.boot.plan.append(PlanStep(0, len(scene.boot.plan), "added", kind, virt, width, rip))
    return scene


@pytest.mark.parametrize("levels", [4, 5])
def test_the_healthy_plan_survives(levels: int) -> None:
    assert predicted(healthy(levels)) == Prediction(survives=True)


def test_a_fetch_faults_with_rip_equal_to_cr2() -> None:
    scene = healthy()
    scene.unmap(b.HANDOFF & ~0xFFF)
    assert first(scene) == Fault(14, 0x10, b.HANDOFF, b.HANDOFF, b.ROOT)


def test_a_push_faults_at_the_instruction_that_pushes() -> None:
    scene = healthy()
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    assert first(scene) == Fault(14, 3, b.STACK_TOP - 8, b.HANDOFF, b.ROOT)


def test_steps_are_judged_by_number_not_by_place_in_the_capture() -> None:
    scene = healthy()
    scene.unmap(b.HANDOFF & ~0xFFF)
    scene.unmap(b.STACK_TOP - b.PAGE)
    scene.boot.plan.reverse()
    assert predicted(scene).number == 0


def test_an_instruction_across_two_pages_faults_at_the_second_but_keeps_its_own_rip() -> None:
    start = b.KERNEL + b.PAGE - 2
    scene = with_step(AccessKind.FETCH, start, 5, start)
    scene.unmap(b.KERNEL + b.PAGE)
    assert first(scene) == Fault(14, 0x10, b.KERNEL + b.PAGE, start, b.ROOT)


def test_a_fetch_wider_than_any_instruction_faults_where_the_missing_page_begins() -> None:
    start = b.KERNEL + b.PAGE - 64
    scene = with_step(AccessKind.FETCH, start, 128, start)
    scene.unmap(b.KERNEL + b.PAGE)
    missing = b.KERNEL + b.PAGE
    assert first(scene) == Fault(14, 0x10, missing, missing, b.ROOT)


def test_a_wide_read_faults_at_its_first_byte_that_is_not_mapped() -> None:
    scene = with_step(AccessKind.READ, b.INFO + 0x800, b.PAGE, b.ENTRY)
    assert first(scene) == Fault(14, 0, b.INFO + b.PAGE, b.ENTRY, b.ROOT)


def test_a_non_canonical_read_is_a_general_protection_fault_without_cr2() -> None:
    scene = with_step(AccessKind.READ, 0x0000_FC00_0000_0000, 8, b.ENTRY)
    assert first(scene) == Fault(13, 0, None, b.ENTRY, b.ROOT)


def test_a_non_canonical_push_is_a_stack_fault() -> None:
    scene = healthy()
    scene.cpu(rsp=0x0000_FE00_0000_5000)
    step = PlanStep(
        0, 1, "push", AccessKind.WRITE, 0x0000_FE00_0000_4FF8, 8, b.HANDOFF
    )
    scene.boot.plan[1] = step
    fault = first(scene)
    assert (fault.vector, fault.error_code) == (12, 0)


def test_a_write_to_a_readonly_page_passes_with_write_protection_off() -> None:
    scene = healthy()
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    scene.cpu(cr0=0x8000_0033)
    assert predicted(scene).survives


def test_without_nxe_bit_63_is_a_reserved_bit() -> None:
    scene = healthy()
    scene.cpu(efer=0x500)
    fault = first(scene)
    assert fault.vector == 14
    assert fault.error_code is not None and fault.error_code & 8
