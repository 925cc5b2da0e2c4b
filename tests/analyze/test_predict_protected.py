"""Delivery of exceptions in protected and real mode, by the order of checks in the manual (SDM 3A, 7.12; 2A, INT n)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cr3scope.model.delivered import Entered, Raised, Refusing, Unknown
from cr3scope.model.delivery import Delivery
from cr3scope.model.machine import carry
from cr3scope.paging.tables import Entries
from cr3scope.render.message import text
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import Descriptor
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import DOUBLE_FAULT, INVALID_TSS, NOT_PRESENT, PAGE_FAULT, PROTECTION, STACK_FAULT, UNDEFINED
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import Segment, in_real_mode

IDT, GDT, TSS, TASK, STACK, HANDLER = 0x1000, 0x2000, 0x3000, 0x4000, 0x9000, 0x7000
NULL, CODE, DATA, USER_CODE, USER_DATA, TSS_AT, TASK_AT = 0, 8, 0x10, 0x18, 0x20, 0x28, 0x30
FLAT_CODE, FLAT_DATA = 0x00CF9A000000FFFF, 0x00CF92000000FFFF
DPL3 = 3 << 45
GDT_BYTES = 0x38
NOT_THERE = 1 << 47
EXTERNAL, IN_IDT = 1, 2


class Machine:
    """64 KiB without paging; bytes beyond are not there."""

    is_recorded = False

    def __init__(self) -> None:
        self.bytes = bytearray(1 << 16)
        for selector, value in (
            (CODE, FLAT_CODE), (DATA, FLAT_DATA), (USER_CODE, FLAT_CODE | DPL3), (USER_DATA, FLAT_DATA | DPL3),
            (TSS_AT, tss(TSS)), (TASK_AT, tss(TASK)),
        ):  # fmt: skip
            self.put(GDT + selector, value, 8)
        for vector in range(32):
            self.gate(vector)
        self.put(TSS + 4, STACK, 4)
        self.put(TSS + 8, DATA, 2)
        for offset, value in ((28, 0x5000), (32, HANDLER + 0x100), (36, 2), (56, STACK + 0x800), (76, CODE), (80, DATA)):
            self.put(TASK + offset, value, 4)

    def put(self, at: int, value: int, width: int) -> None:
        self.bytes[at : at + width] = value.to_bytes(width, "little")

    def gate(self, vector: int, selector: int = CODE, kind: int = 0x8E, offset: int = HANDLER) -> None:
        self.put(IDT + 8 * vector, offset & 0xFFFF | selector << 16 | kind << 40 | offset >> 16 << 48, 8)

    def table(self, phys: int) -> Entries | None:
        data = self.read(phys, 4096)
        return None if data is None else np.frombuffer(data, "<u8")

    def read(self, phys: int, count: int) -> bytes | None:
        data = bytes(self.bytes[phys : phys + count])
        return data if len(data) == count else None

    def delivery(self, platform: Platform = Platform.HARDWARE) -> Delivery:
        return Delivery(self, CpuState(0, cr0=1, efer=0), self, platform)


def tss(base: int, kind: int = 0x89, limit: int = 103) -> int:
    return limit | base << 16 | kind << 40


def segment(selector: int, value: int) -> Segment:
    return Descriptor(value).segment(selector)


def at(cpl: int = 0, **changes: object) -> Registers:
    code, stack = ((CODE, FLAT_CODE), (DATA, FLAT_DATA)) if not cpl else ((USER_CODE | 3, FLAT_CODE | DPL3), (USER_DATA | 3, FLAT_DATA | DPL3))
    segments = {"cs": segment(*code), "ss": segment(*stack), "tr": segment(TSS_AT, tss(TSS, 0x8B)), "ldt": Segment()}
    registers = Registers(0x6000, 0x8000, code[0], TSS_AT, GDT, GDT_BYTES - 1, IDT, 0xFF, 2, CpuMode.PROTECTED, segments)
    return replace(registers, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vector", "cpl", "kind", "rsp"),
    [
        (UNDEFINED, 0, 0x8E, 0x8000 - 12), (PAGE_FAULT, 0, 0x8F, 0x8000 - 16), (PAGE_FAULT, 0, 0x86, 0x8000 - 8),
        (UNDEFINED, 3, 0x8E, STACK - 20), (PAGE_FAULT, 3, 0x8E, STACK - 24), (PAGE_FAULT, 3, 0x87, STACK - 12),
    ],
    ids=["no error code", "error code", "16-bit gate", "from ring 3", "from ring 3, error code", "from ring 3, 16-bit gate"],
)  # fmt: skip
def test_the_frame_has_the_words_of_its_gate_and_of_a_change_of_ring(vector: int, cpl: int, kind: int, rsp: int) -> None:
    machine = Machine()
    machine.gate(vector, kind=kind)
    entered = machine.delivery().deliver(vector, at(cpl))
    assert isinstance(entered, Entered)
    assert (entered.handler, entered.rsp, entered.selector) == (HANDLER, rsp, CODE)


def test_an_interrupt_instruction_pushes_no_error_code() -> None:
    entered = Machine().delivery().deliver(PAGE_FAULT, at(), software=True)
    assert isinstance(entered, Entered) and entered.rsp == 0x8000 - 12


@pytest.mark.parametrize(
    ("place", "value", "width", "cpl", "vector", "error", "refusing"),
    [
        (IDT + 14 * 8 + 5, 0x0E, 1, 0, NOT_PRESENT, 14 << 3 | IN_IDT | EXTERNAL, Refusing.GATE),
        (IDT + 14 * 8 + 5, 0x8C, 1, 0, PROTECTION, 14 << 3 | IN_IDT | EXTERNAL, Refusing.GATE),
        (IDT + 14 * 8 + 5, 0x0C, 1, 0, PROTECTION, 14 << 3 | IN_IDT | EXTERNAL, Refusing.GATE),
        (IDT + 14 * 8 + 2, 3, 2, 0, PROTECTION, EXTERNAL, Refusing.CODE),
        (IDT + 14 * 8 + 2, 0x40, 2, 0, PROTECTION, 0x40 | EXTERNAL, Refusing.CODE),
        (IDT + 14 * 8 + 2, DATA, 2, 0, PROTECTION, DATA | EXTERNAL, Refusing.CODE),
        (IDT + 14 * 8 + 2, USER_CODE, 2, 0, PROTECTION, USER_CODE | EXTERNAL, Refusing.CODE),
        (GDT + CODE, FLAT_CODE & ~NOT_THERE, 8, 0, NOT_PRESENT, CODE | EXTERNAL, Refusing.CODE),
        (TSS + 8, 0, 2, 3, INVALID_TSS, EXTERNAL, Refusing.STACK),
        (TSS + 8, 0x48, 2, 3, INVALID_TSS, 0x48 | EXTERNAL, Refusing.STACK),
        (TSS + 8, CODE, 2, 3, INVALID_TSS, CODE | EXTERNAL, Refusing.STACK),
        (TSS + 8, USER_DATA | 3, 2, 3, INVALID_TSS, USER_DATA | EXTERNAL, Refusing.STACK),
        (GDT + DATA, FLAT_DATA & ~NOT_THERE, 8, 3, STACK_FAULT, DATA | EXTERNAL, Refusing.STACK),
        (GDT + DATA, 0x0040920000000FFF, 8, 3, STACK_FAULT, DATA | EXTERNAL, Refusing.STACK),
        (GDT + CODE, 0x00409A0000000FFF, 8, 0, PROTECTION, EXTERNAL, None),
    ],
    ids=["gate absent", "gate's type", "type before presence", "null code", "code outside the GDT", "code is data",
         "code of ring 3", "code absent", "null stack", "stack outside the GDT", "stack is code", "stack of ring 3",
         "stack absent", "stack too small", "handler beyond the limit"],
)  # fmt: skip
def test_what_delivery_refuses(
    place: int, value: int, width: int, cpl: int, vector: int, error: int, refusing: Refusing | None
) -> None:
    machine = Machine()
    assert isinstance(machine.delivery().deliver(PAGE_FAULT, at(cpl)), Entered)  # its healthy twin
    machine.put(place, value, width)
    raised = machine.delivery().deliver(PAGE_FAULT, at(cpl))
    assert isinstance(raised, Raised)
    assert (raised.vector, raised.error_code, raised.refusing) == (vector, error, refusing)


def test_a_gate_beyond_the_limit_is_refused_by_the_table_of_eight_bytes_each() -> None:
    raised = Machine().delivery().deliver(14, at(idt_limit=14 * 8 + 6))
    assert isinstance(raised, Raised) and raised.error_code == 14 << 3 | IN_IDT | EXTERNAL
    assert isinstance(Machine().delivery().deliver(14, at(idt_limit=14 * 8 + 7)), Entered)


def test_ring_3_may_use_the_gates_of_ring_3_alone() -> None:
    machine = Machine()
    raised = machine.delivery().deliver(3, at(3), software=True)
    assert isinstance(raised, Raised) and (raised.vector, raised.error_code) == (PROTECTION, 3 << 3 | IN_IDT)
    machine.gate(3, kind=0xEE)
    assert isinstance(machine.delivery().deliver(3, at(3), software=True), Entered)
    assert isinstance(Machine().delivery().deliver(UNDEFINED, at(3)), Entered)  # an exception may use any


def test_a_conforming_handler_stays_in_its_ring_and_on_its_stack() -> None:
    machine = Machine()
    machine.put(GDT + CODE, FLAT_CODE | 1 << 42, 8)
    entered = machine.delivery().deliver(UNDEFINED, at(3))
    assert isinstance(entered, Entered) and (entered.rsp, entered.selector) == (0x8000 - 12, CODE | 3)


def test_the_stack_of_a_small_tss_has_words_of_16_bits() -> None:
    machine = Machine()
    machine.put(TSS + 2, STACK, 2)
    machine.put(TSS + 4, DATA, 2)
    small = segment(TSS_AT, tss(TSS, 0x83, 43))
    registers = at(3)
    entered = machine.delivery().deliver(UNDEFINED, replace(registers, segments={**registers.segments, "tr": small}))
    assert isinstance(entered, Entered) and entered.rsp == STACK - 20


def test_a_tss_that_ends_before_the_stack_is_invalid() -> None:
    registers = at(3)
    short = segment(TSS_AT, tss(TSS, 0x8B, 8))
    raised = Machine().delivery().deliver(UNDEFINED, replace(registers, segments={**registers.segments, "tr": short}))
    assert isinstance(raised, Raised) and (raised.vector, raised.error_code) == (INVALID_TSS, TSS_AT | EXTERNAL)


@pytest.mark.parametrize(
    ("value", "offset", "goes"),
    [(0x004092000000FFFF, 12, True), (0x004092000000FFFF, 8, False), (0x0040960000007FFF, 0x8010, True), (0x0040960000007FFF, 0x8008, False)],
    ids=["up, room", "up, wraps", "down, room", "down, at the limit"],
)
def test_the_frame_lies_within_the_stack_segment_which_may_expand_down(value: int, offset: int, goes: bool) -> None:
    registers = at(rsp=offset)
    registers = replace(registers, segments={**registers.segments, "ss": segment(DATA, value)})
    outcome = Machine().delivery().deliver(UNDEFINED, registers)
    if goes:
        assert isinstance(outcome, Entered)
    else:
        assert isinstance(outcome, Raised) and (outcome.vector, outcome.error_code) == (STACK_FAULT, EXTERNAL)
    assert isinstance(Machine().delivery(Platform.TCG).deliver(UNDEFINED, registers), Entered)  # TCG asks for no limit


def test_the_handler_and_the_stack_count_from_their_segments_bases() -> None:
    machine = Machine()
    machine.put(GDT + CODE, 0x00CF9A010000FFFF, 8)  # base 10000h: behind the memory that is there
    delivery = machine.delivery()
    entered = delivery.deliver(UNDEFINED, at())
    assert isinstance(entered, Entered)
    assert delivery.entered(at(), entered).pc == 0x10000 + HANDLER


def test_a_double_fault_goes_through_a_task_gate_with_the_task_s_own_stack() -> None:
    machine = Machine()
    machine.gate(DOUBLE_FAULT, TASK_AT, 0x85, 0)
    machine.gate(PAGE_FAULT, kind=0x0E)
    chain = carry(machine.delivery(), PAGE_FAULT, at())
    assert chain.ends is Ending.HANDLED and chain.handler == HANDLER + 0x100
    entered = machine.delivery().deliver(DOUBLE_FAULT, at())
    assert isinstance(entered, Entered) and (entered.rsp, entered.task) == (STACK + 0x800 - 4, TASK_AT)


@pytest.mark.parametrize(
    ("selector", "value", "vector", "error"),
    [
        (0x40, None, PROTECTION, 0x40), (TASK_AT | 4, None, PROTECTION, TASK_AT | 4), (DATA, None, PROTECTION, DATA),
        (TASK_AT, tss(TASK, 0x8B), PROTECTION, TASK_AT), (TASK_AT, tss(TASK, 0x09), NOT_PRESENT, TASK_AT),
        (TASK_AT, tss(TASK, 0x89, 102), INVALID_TSS, TASK_AT),
    ],
    ids=["outside", "local", "data", "busy", "absent", "short"],
)  # fmt: skip
def test_a_task_that_cannot_be_entered(selector: int, value: int | None, vector: int, error: int) -> None:
    machine = Machine()
    machine.gate(DOUBLE_FAULT, selector, 0x85, 0)
    if value is not None:
        machine.put(GDT + TASK_AT, value, 8)
    raised = machine.delivery().deliver(DOUBLE_FAULT, at())
    assert isinstance(raised, Raised)
    assert (raised.vector, raised.error_code, raised.refusing) == (vector, error | EXTERNAL, Refusing.TASK)
    assert carry(machine.delivery(), DOUBLE_FAULT, at()).ends is Ending.TRIPLE_FAULT


def test_what_is_not_modelled_is_not_told() -> None:
    machine = Machine()
    assert isinstance(machine.delivery().deliver(UNDEFINED, at(3, rflags=1 << 17 | 2)), Unknown)
    machine.gate(UNDEFINED, TASK_AT, 0x85, 0)
    machine.put(GDT + TASK_AT, tss(TASK, 0x81, 43), 8)
    assert isinstance(machine.delivery().deliver(UNDEFINED, at()), Unknown)
    told = carry(machine.delivery(), UNDEFINED, at())  # before: `memory cannot be read: a task of 16 bits`
    assert told.ends is None and [text(one) for one in told.words] == ["not followed: a task of 16 bits"]


def real(**changes: object) -> Registers:
    segments = {"cs": in_real_mode(0x100), "ss": in_real_mode(0x200)}
    registers = Registers(0x10, 0x100, 0x100, 0, 0, 0, 0, 0x3FF, 2, CpuMode.REAL, segments)
    return replace(registers, **changes)  # type: ignore[arg-type]


def test_real_mode_takes_far_pointers_and_pushes_three_words_without_an_error_code() -> None:
    machine = Machine()
    machine.put(PROTECTION * 4, 0x0300 << 16 | 0x0020, 4)
    delivery = machine.delivery()
    entered = delivery.deliver(PROTECTION, real())
    assert isinstance(entered, Entered) and (entered.selector, entered.rsp) == (0x300, 0x100 - 6)
    assert delivery.entered(real(), entered).pc == 0x3020


def test_without_a_table_of_interrupts_real_mode_resets() -> None:
    chain = carry(Machine().delivery(), UNDEFINED, real(idt_limit=0))
    assert chain.ends is Ending.TRIPLE_FAULT
