"""What goes wrong on the way to long mode, told from a CPU that stands; each mistake with its healthy twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cr3scope.diagnose.climb import climb_causes
from cr3scope.diagnose.finding import Finding
from cr3scope.paging.tables import Entries
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import EFER_LMA
from cr3scope.x86.descriptors import Descriptor

PML4, PDPT, DIRECTORY, GDT, IDT, CODE = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x8000
CODE_32, CODE_64, DATA = 0x00CF9A000000FFFF, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
LONG = {"CR0": 0x80010011, "CR3": PML4, "CR4": 0x20, "EFER": 0x100 | EFER_LMA}
GARBAGE = 0x1234 << 32
# mov rax, [rip + 10h]; add rax, rbx; mov [rcx], rax; lea rdx, [rax + 8]; sub rcx, rdx
CODE_OF_64 = "488b0510000000 4801d8 488901 488d5008 4829d1"
# mov eax, [10h]; add eax, ebx; dec eax; mov [ecx], eax; lea edx, [eax + 8]; sub ecx, edx
CODE_OF_32 = "8b0510000000 01d8 48 8901 8d5008 29d1"


class Memory:
    """64 KiB, mapped one to one by a large page of long mode."""

    def __init__(self, code: str) -> None:
        self.bytes = bytearray(1 << 16)
        for at, value in ((PML4, PDPT | 7), (PDPT, DIRECTORY | 7), (DIRECTORY, 0x87), (GDT + 8, CODE_32), (GDT + 16, DATA), (GDT + 24, CODE_64)):
            self.put(at, value)
        self.put(IDT + 13 * 16, 0x8E0000180000 | CODE)
        data = bytes.fromhex(code)
        self.bytes[CODE : CODE + len(data)] = data

    def put(self, at: int, value: int) -> None:
        self.bytes[at : at + 8] = value.to_bytes(8, "little")

    def table(self, phys: int) -> Entries | None:
        data = self.physical(phys, 4096)
        return np.frombuffer(data, "<u8") if len(data) == 4096 else None

    def physical(self, phys: int, length: int) -> bytes:
        return bytes(self.bytes[phys : phys + length])


def standing(code: str = CODE_OF_64, selector: int = 24, at: int = 0, **registers: int) -> StoppedCpu:
    """A CPU in long mode at an offset of the code."""
    memory = Memory(code)
    bits = 64 if selector == 24 else 32
    segment = Descriptor(CODE_64 if bits == 64 else CODE_32).segment(selector)
    told = {**LONG, "RIP": CODE + at, "RSP": 0x7000, **registers}
    return StoppedCpu(memory, told, 40, {"CS": selector}, Table(IDT, 0xFFF), Table(GDT, 0x1F), code_bits=bits, segments={"CS": segment})


def rules(now: StoppedCpu, fault: Fault | None = None, others: tuple[StoppedCpu, ...] = ()) -> list[str]:
    return [one.rule for one in found(now, fault, others)]


def found(now: StoppedCpu, fault: Fault | None = None, others: tuple[StoppedCpu, ...] = ()) -> list[Finding]:
    return list(climb_causes(now, fault, now.registers, others))


def page_fault(now: StoppedCpu, cr2: int) -> Fault:
    return Fault(14, 0, cr2, now.rip, now.cpu.cr3)


def test_64_bit_code_in_a_32_bit_segment() -> None:
    now = standing(selector=8, at=1)  # dec eax is behind it: mov eax, [10h] is at RIP
    assert rules(now, page_fault(now, 0x10)) == ["compatibility-mode"]


@pytest.mark.parametrize(
    "now",
    [standing(), standing(CODE_OF_32, 8), standing(CODE_OF_32, 8, 9)],
    ids=["64-bit code in its segment", "32-bit code", "32-bit code behind a dec"],
)
def test_code_that_runs_in_its_own_mode_is_none(now: StoppedCpu) -> None:
    assert rules(now, page_fault(now, 0x10)) == []


def test_32_bit_code_whose_operand_would_be_mapped_as_a_relative_one_needs_just_that_address() -> None:
    now = standing(CODE_OF_32, 8)
    assert rules(now, page_fault(now, 0x9999000)) == []


@pytest.mark.parametrize("register", ["gdt", "idt"])
def test_a_table_whose_base_has_garbage_above(register: str) -> None:
    now = standing()
    table = {"gdt": Table(GDT | GARBAGE, 0x1F), "idt": Table(IDT | GARBAGE, 0xFFF)}[register]
    assert rules(replace(now, **{register: table})) == ["table-pointer-short"]  # type: ignore[arg-type]


def no_code(now: StoppedCpu) -> StoppedCpu:
    """The low half names no table: it may be garbage too."""
    return replace(now, gdt=Table(GDT + 0x100 | GARBAGE, 0x1F))


def in_32_bit_code(now: StoppedCpu) -> StoppedCpu:
    return replace(standing(CODE_OF_32, 8), gdt=Table(GDT | GARBAGE, 0x1F))


@pytest.mark.parametrize("changed", [lambda now: now, no_code, in_32_bit_code], ids=["healthy", "no table there", "32-bit code"])
def test_a_table_that_may_be_meant_is_none(changed: Callable[[StoppedCpu], StoppedCpu]) -> None:
    assert rules(changed(standing())) == []


def test_a_root_that_lost_its_upper_half() -> None:
    first = standing(CR3=0x1_0000_0000 | PML4)
    second = replace(standing(CODE_OF_32, 8), number=1)
    assert rules(second, None, (first, second)) == ["cr3-truncated"]


@pytest.mark.parametrize("root", [PML4, 0x1_0000_0000 | PDPT])
def test_a_root_of_its_own_is_none(root: int) -> None:
    second = replace(standing(CODE_OF_32, 8), number=1)
    assert rules(second, None, (standing(CR3=root), second)) == []
