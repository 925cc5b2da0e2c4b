"""How a chain of exceptions ends: handled, storm, double fault, triple fault."""

from __future__ import annotations

import boot_builder as b
import pytest
from boot_builder import Scene, healthy

from cr3scope.input.capture.records import MemoryContents
from cr3scope.model.prediction import Prediction
from cr3scope.render.message import text
from cr3scope.verdict.analysis import analyze
from cr3scope.x86 import exceptions
from cr3scope.x86.ending import Ending


def predicted(scene: Scene) -> Prediction:
    prediction = analyze(scene.capture()).prediction
    assert prediction is not None and not prediction.survives
    return prediction


def words(prediction: Prediction) -> str:
    return "\n".join(map(text, prediction.chain))


def kernel_text_missing() -> Scene:
    scene = healthy()
    scene.unmap(b.KERNEL)
    return scene


def with_idt(scene: Scene, data: bytes) -> Scene:
    scene.boot.memories["idt", "handoff"] = MemoryContents(0, "idt", "handoff", b.IDT, data)
    return scene


def test_a_fault_with_a_sound_safety_net_is_handled() -> None:
    assert predicted(kernel_text_missing()).ends is Ending.HANDLED


def test_without_an_idt_a_fault_becomes_a_triple_fault_that_dies_at_the_gate_of_the_double_fault() -> (
    None
):
    scene = kernel_text_missing()
    scene.unmap(b.IDT)
    prediction = predicted(scene)
    assert prediction.ends is Ending.TRIPLE_FAULT
    assert f"CR2={b.IDT + 14 * 16:#x}: double fault" in words(prediction)
    assert f"CR2={b.IDT + 8 * 16:#x}: triple fault" in words(prediction)


def test_a_handler_on_an_ist_stack_that_cannot_be_fetched_storms_without_end() -> None:
    scene = kernel_text_missing()
    scene.unmap(b.HANDLERS)
    prediction = predicted(scene)
    assert prediction.ends is Ending.STORM
    assert "without end" in words(prediction)


def test_a_storm_without_ist_ends_where_the_stack_does() -> None:
    scene = with_idt(kernel_text_missing(), b.idt(ist=0))
    scene.unmap(b.HANDLERS)
    prediction = predicted(scene)
    assert prediction.ends is Ending.STORM
    frames = (b.STACK_TOP - (b.STACK_GUARD + b.PAGE)) // 48
    assert f"about {frames} frames" in words(prediction)
    assert f"{b.STACK_GUARD + b.PAGE - 1:#x}" in words(prediction)


def test_a_storm_without_ist_ends_when_it_overwrites_the_gdt() -> None:
    scene = with_idt(kernel_text_missing(), b.idt(ist=0))
    scene.unmap(b.HANDLERS)
    gdt_frame = b.GDT & ~0xFFF
    scene.tables.put(scene.tables.slot(b.STACK_TOP - 3 * b.PAGE, 1), gdt_frame | b.P | b.W)
    assert "meets the GDT" in words(predicted(scene))


def test_a_bad_stack_without_ist_is_a_triple_fault_in_spite_of_the_idt() -> None:
    scene = with_idt(healthy(), b.idt(ist=0))
    scene.unmap(b.STACK_TOP - b.PAGE)
    prediction = predicted(scene)
    assert prediction.ends is Ending.TRIPLE_FAULT
    assert "the stack at" in words(prediction)


def test_a_bad_stack_with_an_ist_is_handled() -> None:
    scene = healthy()
    scene.unmap(b.STACK_TOP - b.PAGE)
    assert predicted(scene).ends is Ending.HANDLED


def test_a_bad_ist_stack_is_a_triple_fault() -> None:
    scene = kernel_text_missing()
    scene.unmap(b.IST_TOP - b.PAGE)
    assert predicted(scene).ends is Ending.TRIPLE_FAULT


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"selector": 0x40}, "outside the GDT"),
        ({"selector": 0x10}, "no 64-bit ring 0 code segment"),
        ({"selector": 0x28}, "no 64-bit ring 0 code segment"),
        ({"selector": 0}, "a null code selector"),
        ({"kind": 0x85}, "no interrupt or trap gate"),
        ({"kind": 0x0E}, "not present"),
    ],
)
def test_a_gate_that_leads_nowhere_is_named(gate: dict[str, int], said: str) -> None:
    scene = with_idt(kernel_text_missing(), b.gate(b.HANDLERS, **gate) * 256)
    prediction = predicted(scene)
    assert prediction.ends is Ending.TRIPLE_FAULT
    assert said in words(prediction)


def test_a_gate_beyond_the_limit_is_a_triple_fault() -> None:
    scene = kernel_text_missing()
    scene.cpu(idt_limit=14 * 16 - 1)
    prediction = predicted(scene)
    assert prediction.ends is Ending.HANDLED  # of the #GP, whose gate is below the limit
    assert "beyond the IDT's limit" in words(prediction)


def test_a_general_protection_fault_that_cannot_read_its_gate_is_a_page_fault_first() -> None:
    scene = healthy()
    scene.cpu(rsp=0)
    scene.unmap(b.IDT)
    scene.boot.plan[3] = type(scene.boot.plan[3])(
        0, 3, "bad pointer", scene.boot.plan[3].kind, 0x0000_FC00_0000_0000, 8, b.ENTRY
    )
    chain = list(map(text, predicted(scene).chain))
    assert f"CR2={b.IDT + 13 * 16:#x}" in chain[0] and "double fault" not in chain[0]
    assert "double fault" in chain[1]
    assert "triple fault" in chain[2]


def test_unknown_descriptor_bytes_leave_the_end_open() -> None:
    scene = kernel_text_missing()
    del scene.boot.memories["idt", "handoff"]
    prediction = predicted(scene)
    assert prediction.ends is None
    assert "does not hold gate 14" in words(prediction)


@pytest.mark.parametrize(
    ("one", "two", "double"),
    [(14, 14, True), (14, 13, True), (13, 13, True), (13, 14, False), (3, 13, False), (6, 14, False)],
)
def test_double_faults_follow_the_table_of_the_manual(one: int, two: int, double: bool) -> None:
    assert exceptions.makes_double_fault(one, two) is double


def test_a_storm_of_a_few_frames_is_a_triple_fault() -> None:
    scene = with_idt(kernel_text_missing(), b.idt(ist=0))
    scene.unmap(b.HANDLERS)
    low = b.STACK_GUARD + b.PAGE + 5 * 48
    scene.cpu(rsp=low)
    scene.boot.plan[1] = type(scene.boot.plan[1])(
        0, 1, "push", scene.boot.plan[1].kind, low - 8, 8, b.HANDOFF
    )
    prediction = predicted(scene)
    assert prediction.ends is Ending.TRIPLE_FAULT
    assert "about 5 frames" in words(prediction)
