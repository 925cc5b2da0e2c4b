"""Kernels that stop at their first bytes, and a CR3 that never comes into force."""

from __future__ import annotations

from dataclasses import replace

import boot_builder as b
import pytest
from boot_builder import Scene, healthy
from step_scenes import fits, foreseen, judged, predicted, wrong_frame

from cr3scope.input.capture.records import LoadedRecord, MemoryContents
from cr3scope.input.logs.log_report import LogReport
from cr3scope.render import message, text
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending


# --- A slide through zeros ---


def zeros(rax: int = b.INFO, size: int = 64, at: int = b.ENTRY) -> Scene:
    scene = healthy()
    scene.cpu(rax=rax)
    scene.boot.memories["entry", "handoff"] = MemoryContents(0, "entry", "handoff", at, bytes(size))
    return scene


def test_zeros_with_a_good_rax_slide_to_the_first_page_that_cannot_be_executed() -> None:
    prediction = predicted(zeros())
    behind = b.KERNEL + 3 * b.PAGE
    assert prediction.first == Fault(14, 0x10, behind, behind, b.ROOT)
    assert (message.text(prediction.step), prediction.number) == ("fetch at kernel entry", 2)
    assert "a slide through zero bytes" in message.text(prediction.chain[0])
    assert prediction.ends is Ending.HANDLED


def test_a_slide_ends_early_where_a_page_of_the_segment_cannot_be_executed() -> None:
    scene = zeros()
    scene.tables.edit(b.KERNEL + b.PAGE, 1, set_bits=b.NX)
    behind = b.KERNEL + b.PAGE
    assert predicted(scene).first == Fault(14, 0x11, behind, behind, b.ROOT)


def test_a_slide_from_an_odd_address_ends_in_an_instruction_across_two_pages() -> None:
    scene = zeros(at=b.ENTRY + 1)
    scene.boot.plan[2] = replace(scene.boot.plan[2], virt=b.ENTRY + 1, rip=b.ENTRY + 1)
    behind = b.KERNEL + 3 * b.PAGE
    assert predicted(scene).first == Fault(14, 0x10, behind, behind - 1, b.ROOT)


def test_a_slide_into_other_code_has_an_end_that_nobody_knows() -> None:
    scene = zeros()
    scene.tables.map(b.KERNEL + 3 * b.PAGE, 0x0300_8000, b.PAGE, "r-x")
    assert predicted(scene).first == Fault(14, None, None, None, b.ROOT)


def test_zeros_of_a_segment_that_is_as_its_file_tell_nothing_of_its_other_bytes() -> None:
    scene = zeros()
    scene.boot.loaded.append(LoadedRecord(0, "kernel.elf", 0, None, None))
    assert predicted(scene).first == Fault(14, None, None, None, b.ROOT)
    scene.boot.loaded[0] = replace(scene.boot.loaded[0], differs=b.KERNEL)
    first = predicted(scene).first
    assert first is not None and first.cr2 == b.KERNEL + 3 * b.PAGE


@pytest.mark.parametrize(
    ("rax", "error", "error_on_tcg"),
    [(0x1234_5000, 2, 0), (b.KERNEL + 0x10000, 3, 3)],
)
def test_zeros_with_a_bad_rax_fault_at_the_entry(
    rax: int, error: int, error_on_tcg: int
) -> None:
    scene = zeros(rax)
    assert predicted(scene).first == Fault(14, error, rax, b.ENTRY, b.ROOT)
    on_tcg = judged(scene, LogReport()).prediction
    assert on_tcg is not None
    assert on_tcg.first == Fault(14, error_on_tcg, rax, b.ENTRY, b.ROOT)


def test_zeros_with_a_rax_that_is_not_canonical_are_a_protection_fault() -> None:
    rax = 0x0000_FC00_0000_0000
    assert predicted(zeros(rax)).first == Fault(13, 0, None, b.ENTRY, b.ROOT)


def test_a_fault_before_the_entry_or_of_its_fetch_comes_before_the_slide() -> None:
    scene = zeros()
    scene.tables.edit(b.ENTRY, 1, set_bits=b.NX)
    assert predicted(scene).first == Fault(14, 0x11, b.ENTRY, b.ENTRY, b.ROOT)


def test_the_rest_of_the_plan_does_not_happen_to_a_sliding_cpu() -> None:
    scene = zeros()
    scene.unmap(b.INFO)
    scene.cpu(rax=b.KERNEL + 0x20000)
    prediction = predicted(scene)
    assert prediction.first is not None and prediction.first.cr2 == b.KERNEL + 3 * b.PAGE
    assert prediction.number == 2


def test_without_rax_or_with_code_at_the_entry_there_is_no_slide() -> None:
    scene = zeros()
    registers = dict(scene.boot.cpus["handoff"].registers)
    del registers["rax"]
    scene.boot.cpus["handoff"] = replace(scene.boot.cpus["handoff"], registers=registers)
    assert predicted(scene).survives
    scene = zeros()
    code = replace(scene.boot.memories["entry", "handoff"], data=bytes(63) + b"\x90")
    scene.boot.memories["entry", "handoff"] = code
    assert predicted(scene).survives


def test_the_zeros_of_the_intended_frame_say_nothing_of_a_wrong_one() -> None:
    scene = wrong_frame(b.KERNEL, b.INFO_PHYS)
    scene.cpu(rax=b.INFO)
    scene.boot.memories["entry", "handoff"] = zeros().boot.memories["entry", "handoff"]
    prediction = predicted(scene)
    assert prediction.survives and prediction.diverges == 2


def test_an_entry_that_no_memory_answers_for_is_an_undefined_instruction() -> None:
    scene = zeros()
    there = replace(scene.boot.memories["entry", "handoff"], data=b"\xff" * 64)
    scene.boot.memories["entry", "handoff"] = there
    prediction = predicted(scene)
    assert prediction.first == Fault(6, None, None, b.ENTRY, b.ROOT)
    assert (prediction.number, prediction.ends) == (2, Ending.HANDLED)


def test_the_report_of_a_slide_begins_with_its_end() -> None:
    scene = zeros(0x1234_5000)
    scene.unmap(b.IDT)
    report = text.render(judged(scene))
    assert report.startswith("WILL FAULT: #PF (error 0002: write, not present) at: fetch at kernel")
    assert fits(report)


# --- A CR3 that never comes into force ---


def refused_cr3() -> Scene:
    scene = healthy()
    scene.cpu(cr3=b.ROOT | 1 << 51)
    return scene


def test_reserved_bits_in_cr3_are_a_protection_fault_of_the_mov_itself() -> None:
    prediction = predicted(refused_cr3())
    assert prediction.first == Fault(13, 0, None, None)
    assert (message.text(prediction.step), prediction.number) == ("mov cr3", None)
    assert not foreseen(refused_cr3()).strikes


def test_on_tcg_reserved_bits_in_cr3_are_a_hang() -> None:
    hung = LogReport(ending=Ending.HANG)
    verdict = judged(refused_cr3(), hung)
    assert verdict.prediction is not None
    assert (verdict.prediction.first, verdict.prediction.ends) == (None, Ending.HANG)
    assert verdict.agreement is True
    assert "then  CR3=0x8000001000000 has reserved bits" in text.render(verdict)


def test_bit_63_of_cr3_is_reserved_without_process_context_identifiers_alone() -> None:
    scene = healthy()
    scene.cpu(cr3=b.ROOT | 1 << 63)
    assert not predicted(scene).survives
    scene.cpu(cr4=0x668 | 1 << 17)
    assert predicted(scene).survives
