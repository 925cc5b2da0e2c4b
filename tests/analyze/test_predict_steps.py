"""Steps that are more than an access: INT instructions, aligned operands, interrupts that nobody
masked; and what QEMU's log shows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import boot_builder as b
import pytest
from analyze.storm_log import TRIPLE, firmware, record
from boot_builder import Scene, healthy
from step_scenes import (
    INT3, INT3_RAISED, MOVAPS, fits, foreseen, judged, predicted, striking, with_idt, with_int3,
    with_step, words,
)  # fmt: skip

from cr3scope.input.capture.records import FaultRecord
from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.screen import read_screen
from cr3scope.model.prediction import Prediction
from cr3scope.model.strike import Target
from cr3scope.render import message, text
from cr3scope.render.chain import lines
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.ending import Ending


# --- INT instructions ---


def test_an_interrupt_whose_handler_runs_survives() -> None:
    assert predicted(with_int3()) == Prediction(survives=True)


def test_an_interrupt_without_an_idt_is_itself_the_first_exception() -> None:
    scene = with_int3()
    scene.unmap(b.IDT)
    prediction = predicted(scene)
    assert prediction.first == INT3_RAISED
    assert (message.text(prediction.step), prediction.number) == ("int3", 1)
    assert prediction.ends is Ending.TRIPLE_FAULT
    assert f"gate 3 of the IDT at {b.IDT + 3 * 16:#x} is out of reach: #PF" in message.text(prediction.chain[0])
    assert f"CR2={b.IDT + 3 * 16:#x}" in message.text(prediction.chain[0])
    assert "double fault" not in message.text(prediction.chain[0])  # a breakpoint is benign
    assert f"CR2={b.IDT + 14 * 16:#x}: double fault" in message.text(prediction.chain[1])


def test_an_interrupt_without_its_handler_storms_from_the_interrupt_on() -> None:
    scene = with_int3()
    scene.unmap(b.HANDLERS)
    prediction = predicted(scene)
    assert prediction.first == INT3_RAISED
    assert prediction.ends is Ending.STORM


def test_an_interrupt_whose_failure_is_handled_is_still_the_first_exception() -> None:
    scene = with_int3()
    data = bytearray(b.idt())
    data[3 * 16 : 4 * 16] = b.gate(b.HANDLERS + 0x100_0000)
    prediction = predicted(with_idt(scene, bytes(data)))
    assert prediction.first == INT3_RAISED
    assert prediction.ends is Ending.HANDLED


def test_an_interrupt_that_the_firmware_handles_does_not_return() -> None:
    scene = with_idt(with_int3(), b.idt(handlers=0x0F05_0000))
    scene.tables.map(0x0F05_0000, 0x0F05_0000, 2 * b.PAGE, "r-x")
    scene.unmap(b.INFO)
    registers = {"vector": 3, "error": 0, "cr2": 0, "cr3": b.ROOT, "rip": INT3 + 1}
    scene.boot.faults.append(FaultRecord(0, "firmware", registers))
    verdict = judged(scene)
    prediction = verdict.prediction
    assert prediction is not None
    assert (prediction.first, prediction.ends) == (INT3_RAISED, Ending.HANDLED)
    assert "the handler of #BP at 0xf050030 runs" in words(prediction)
    assert "does not return" in words(prediction)
    assert verdict.agreement is True


def test_the_firmwares_screen_of_a_breakpoint_tells_the_instruction_behind_it() -> None:
    screen = b"!!!! X64 Exception Type - 03(#BP - Breakpoint)  CPU Apic ID - 00000000 !!!!\r\n"
    assert read_screen(screen + b"RIP  - %016X, CS  - 0038\r\n" % (INT3 + 1)) == Fault(
        3, None, None, INT3
    )


def test_the_fetch_of_an_interrupt_instruction_is_judged_first() -> None:
    scene = with_step(healthy(), 1, name="int3", vector=3, virt=b.INFO, rip=b.INFO)
    scene.unmap(b.IDT)
    assert predicted(scene).first == Fault(14, 0x11, b.INFO, b.INFO, b.ROOT)


def test_an_interrupt_pushes_no_error_code_and_blames_no_external_event() -> None:
    scene = with_idt(with_int3(), b.gate(b.HANDLERS, selector=0x40) * 256)
    prediction = predicted(scene)
    assert "outside the GDT, is out of reach: #GP (error 0040: GDT selector 40h)" in message.text(prediction.chain[0])
    assert "(error 0041: GDT selector 40h, on delivery of an event)" in message.text(prediction.chain[1])


def test_what_an_interrupt_needs_strikes_in_order_and_is_mended() -> None:
    scene = with_int3()
    scene.unmap(b.IDT)
    scene.unmap(b.HANDLERS)
    scene.unmap(b.INFO)
    found = foreseen(scene)
    struck = [(s.target, s.step.step, s.fault) for s in found.strikes if s.step]
    assert struck[0] == (Target.IDT, 1, INT3_RAISED)
    assert struck[1] == (Target.HANDLER, 1, INT3_RAISED)
    assert all(strike.mend is not None for strike in found.strikes[:2])
    assert striking(judged(scene)) == [
        ("idt-unmapped", 1),
        ("handler-unmapped", 1),
        ("boot-info-unmapped", 4),
    ]


def test_a_gdt_that_an_interrupt_cannot_read_strikes_at_its_step() -> None:
    scene = with_int3()
    scene.unmap(b.GDT)
    assert striking(judged(scene))[0] == ("gdt-unmapped", 1)
    assert foreseen(scene).strikes[0].target is Target.GDT


def test_a_stack_that_an_interrupt_cannot_push_to_strikes_at_its_step() -> None:
    scene = with_idt(with_int3(), b.idt(ist=0))
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    verdict = judged(scene)
    assert verdict.prediction is not None and verdict.prediction.first == INT3_RAISED
    assert striking(verdict) == [("stack-readonly", 1)]
    first = foreseen(scene).strikes[0]
    assert first.kind is AccessKind.WRITE and first.mend is not None


def test_a_bad_gate_is_no_refused_access_but_stops_the_plan_all_the_same() -> None:
    scene = with_idt(with_int3(), b.gate(b.HANDLERS, selector=0x40) * 256)
    scene.unmap(b.INFO)
    prediction = predicted(scene)
    assert prediction.first == INT3_RAISED
    assert prediction.number == 1
    assert prediction.ends is Ending.TRIPLE_FAULT
    # The rounds go on: what strikes once the gates are right.
    assert striking(judged(scene))[-1] == ("boot-info-unmapped", 4)


def pending(scene: Scene) -> Scene:
    """An interrupt of the hardware that is taken in place of the first fetch."""
    return with_step(scene, 0, name="pending", virt=b.HANDOFF, rip=b.HANDOFF, vector=0x20)


def test_a_pending_interrupt_that_reaches_its_handler_survives() -> None:
    assert predicted(pending(healthy())).survives


def test_a_pending_interrupt_is_no_exception_but_what_its_delivery_raises_is() -> None:
    scene = pending(healthy())
    scene.unmap(b.IDT)
    scene.unmap(b.HANDOFF & ~0xFFF)  # not fetched yet
    prediction = predicted(scene)
    assert prediction.first == Fault(14, 0, b.IDT + 0x20 * 16, b.HANDOFF, b.ROOT)
    assert (message.text(prediction.step), prediction.number) == ("pending", 0)
    assert prediction.ends is Ending.TRIPLE_FAULT


def test_a_pending_interrupt_without_its_handler_faults_at_the_handler() -> None:
    scene = pending(healthy())
    scene.unmap(b.HANDLERS)
    handler = b.HANDLERS + 0x20 * 16
    prediction = predicted(scene)
    assert prediction.first == Fault(14, 0x10, handler, handler, b.ROOT)
    assert prediction.ends is Ending.STORM


def test_a_pending_interrupt_is_not_mended_in_the_tables() -> None:
    scene = pending(healthy())
    scene.unmap(b.IDT)
    assert not [strike for strike in foreseen(scene).strikes if strike.step]


def test_unknown_bytes_of_the_idt_stop_no_plan() -> None:
    scene = with_int3()
    del scene.boot.memories["idt", "handoff"]
    assert predicted(scene).survives


# --- What QEMU's log shows of them ---

Read = Callable[..., LogReport]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def observe_pieces(*pieces: str) -> LogReport:
        path = tmp_path / "interrupts.log"
        path.write_text("".join([*firmware(), *pieces]))
        return observe(path, b.ROOT)

    return observe_pieces


def int3_record(number: int = 150, rsp: int = b.STACK_TOP, vector: int = 3) -> str:
    """QEMU writes no `check_exception` line before the interrupt of an INT instruction."""
    whole = record(number, vector, rip=INT3, rsp=rsp, cr3=b.ROOT, idt=b.IDT)
    return whole.split("\n", 1)[1].replace(" i=0 ", " i=1 ")


def fault_record(
    number: int, cr2: int, error: int = 0, rip: int = INT3, rsp: int = b.STACK_TOP
) -> str:
    return record(number, 14, error, rip=rip, rsp=rsp, cr2=cr2, cr3=b.ROOT, idt=b.IDT)


def test_an_undelivered_interrupt_is_the_first_exception_of_the_log(read: Read) -> None:
    report = read(
        int3_record(),
        fault_record(151, b.IDT + 3 * 16),
        record(152, 8, rip=INT3, rsp=b.STACK_TOP, cr2=b.IDT + 14 * 16, cr3=b.ROOT, old=14),
        TRIPLE,
    )
    assert report.first == INT3_RAISED
    assert report.records == 3
    assert report.ending is Ending.TRIPLE_FAULT
    assert f"IDT gate 3 at {b.IDT + 3 * 16:#x} cannot be read" in lines(report)[0]
    scene = with_int3()
    scene.unmap(b.IDT)
    assert judged(scene, report).agreement is True


def test_an_interrupt_of_a_vector_that_is_no_exception_is_not_the_first_though_it_began_it_all(read: Read) -> None:
    report = read(int3_record(vector=0x80), fault_record(151, b.IDT + 0x80 * 16))
    assert report.events[0].record.vector == 0x80 and report.events[0].why is Why.IDT_UNMAPPED
    assert report.first == report.fatal == Fault(14, 0, b.IDT + 0x80 * 16, INT3, b.ROOT)
    assert f"IDT gate 128 at {b.IDT + 0x80 * 16:#x} cannot be read" in lines(report)[0]


@pytest.mark.parametrize("rsp", [b.STACK_TOP - 40, b.IST_TOP - 40])
def test_an_interrupt_whose_handler_cannot_be_fetched_is_the_first_exception(
    read: Read, rsp: int
) -> None:
    handler = b.HANDLERS + 3 * 16
    report = read(int3_record(), fault_record(151, handler, error=0x11, rip=handler, rsp=rsp))
    assert report.first == INT3_RAISED


def test_an_interrupt_that_was_handled_is_not_the_exception_that_came_later(read: Read) -> None:
    later = fault_record(151, b.ENTRY, error=0x10, rip=b.ENTRY, rsp=b.STACK_TOP - 8)
    report = read(int3_record(), later)
    assert report.first == Fault(14, 0x10, b.ENTRY, b.ENTRY, b.ROOT)
    scene = with_int3()
    scene.unmap(b.KERNEL)
    verdict = judged(scene, report)
    assert verdict.agreement is True
    assert verdict.observation is not None and verdict.observation.ending is Ending.DELIVERED


def test_a_healthy_boot_with_an_interrupt_ran(read: Read) -> None:
    report = read(int3_record())
    scene = with_int3()
    scene.boot.summary = (12, 0)
    verdict = judged(scene, report)
    assert verdict.observation is not None and verdict.observation.ending is None
    assert verdict.agreement is True
    assert verdict.status.value == "healthy"


# --- Alignment ---


@pytest.mark.parametrize("mapped", [True, False])
def test_a_misaligned_operand_is_a_protection_fault_whether_or_not_it_is_mapped(
    mapped: bool,
) -> None:
    virt = b.STACK_TOP - 40
    kind = AccessKind.WRITE
    scene = with_step(healthy(), 3, kind=kind, virt=virt, width=16, rip=MOVAPS, align=16)
    if not mapped:
        scene.unmap(b.STACK_TOP - b.PAGE)
        scene.boot.plan[1] = replace(scene.boot.plan[1], virt=b.INFO)
    prediction = predicted(scene)
    assert prediction.first == Fault(13, 0, None, MOVAPS, b.ROOT)
    assert prediction.number == 3
    [strike] = [strike for strike in foreseen(scene).strikes if strike.step and strike.step.step == 3]
    assert (strike.reason.value, strike.virt, strike.mend) == ("misaligned", virt, None)


def test_an_aligned_operand_is_like_any_other() -> None:
    virt = b.STACK_TOP - 32
    step = {"kind": AccessKind.WRITE, "virt": virt, "width": 16, "rip": MOVAPS, "align": 16}
    assert predicted(with_step(healthy(), 3, **step)).survives


def test_a_misaligned_address_that_is_not_canonical_is_called_that() -> None:
    virt = 0x0000_FC00_0000_0008
    scene = with_step(
        healthy(), 3, kind=AccessKind.READ, virt=virt, width=16, rip=MOVAPS, align=16
    )
    assert "non-canonical" in [finding.rule for finding in judged(scene).findings]


# --- Interrupts that nobody masked ---


def interrupts_on() -> Scene:
    scene = healthy()
    scene.cpu(rflags=0x202)
    return scene


def test_interrupts_without_an_idt_are_a_fault_whose_place_nobody_knows() -> None:
    scene = interrupts_on()
    scene.unmap(b.IDT)
    prediction = predicted(scene)
    assert prediction.first == Fault(14, 0, None, None, b.ROOT)
    assert (message.text(prediction.step), prediction.number) == ("an interrupt", None)
    assert prediction.ends is Ending.TRIPLE_FAULT
    assert f"CR2={b.IDT + 0x20 * 16:#x}" in message.text(prediction.chain[0])


def test_interrupts_that_reach_a_handler_foretell_nothing() -> None:
    assert predicted(interrupts_on()).survives


def test_masked_interrupts_need_no_idt() -> None:
    scene = healthy()
    scene.unmap(b.IDT)
    assert predicted(scene).survives


def test_a_fault_of_the_plan_comes_before_an_interrupt() -> None:
    scene = interrupts_on()
    scene.unmap(b.IDT)
    scene.unmap(b.INFO)
    assert message.text(predicted(scene).step) == "read of the boot info"


def test_a_fault_record_at_any_place_agrees_with_an_interrupt() -> None:
    scene = interrupts_on()
    scene.unmap(b.IDT)
    registers = {"vector": 14, "error": 0, "cr2": b.IDT + 0x680, "cr3": b.ROOT, "rip": b.ENTRY + 77}
    scene.boot.faults.append(FaultRecord(0, "kernel", registers))
    assert judged(scene).agreement is True


# --- Words ---


def interrupted_without_a_net() -> Scene:
    scene = interrupts_on()
    scene.unmap(b.IDT)
    return scene


def breaking_without_a_net() -> Scene:
    scene = with_int3()
    scene.unmap(b.IDT)
    return scene


@pytest.mark.parametrize(
    ("make", "headline"),
    [
        (interrupted_without_a_net, "WILL FAULT: #PF (error 0000: read, not present) at: an inter"),
        (breaking_without_a_net, "WILL FAULT: #BP at: int3"),
    ],
)
def test_reports_fit_the_width_and_begin_with_the_answer(
    make: Callable[[], Scene], headline: str
) -> None:
    report = text.render(judged(make()))
    assert report.startswith(headline)
    assert fits(report)
