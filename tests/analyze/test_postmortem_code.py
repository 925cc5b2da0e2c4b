"""What a paused guest's memory tells of its code: calls, refused instructions, overwritten code."""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from analyze import dead_guest
from analyze.dead_guest import PD, ROOT, Ram
from analyze.said import detail, fix
from analyze.said import title as title_of
from pathlib import Path
from typing import Any

import pytest

from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.facts.call_site import is_after_call, target_of_call
from cr3scope.diagnose.facts.callers import callers
from cr3scope.diagnose.facts.file_code import Piece
from cr3scope.diagnose.facts.long_mode_off import long_mode_off
from cr3scope.diagnose.facts.overwritten_code import overwritten_code
from cr3scope.diagnose.facts.refused_instruction import refused_instruction
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.qemu.paused_guest import MonitorMemory
from cr3scope.qemu.qmp import QmpError
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.mov_cr3 import switch_before
from cr3scope.x86.segment import Segment

RIP, STACK = 0x10_0000, 0x20_0000
OSFXSR, OSXSAVE = 1 << 9, 1 << 18
UD, NM, GP = 6, 7, 13


@dataclass
class Guest:
    """Memory by virtual address; what is in no piece is not mapped."""

    memory: dict[int, bytes]
    cpu: CpuState = field(default_factory=lambda: CpuState(cr3=0x1000, cr0=0x80000001, cr4=0x20, efer=0xD00))

    segments: dict[str, Segment] = field(default_factory=dict)

    def descriptor(self, selector: int) -> int | None:
        return 0x0040980000000000 if selector == 8 else None

    def bytes_at(self, virt: int, length: int) -> bytes:
        for start, data in self.memory.items():
            if start <= virt < start + len(data):
                return data[virt - start : virt - start + length]
        return b""


def why(code: str, vector: int = UD, cr4: int = 0x20, cr0: int = 0x80000001,
        registers: Mapping[str, int] | None = None, bits: int = 64) -> Finding:  # fmt: skip
    guest: Any = Guest({RIP: bytes.fromhex(code)}, CpuState(cr3=0x1000, cr0=cr0, cr4=cr4, efer=0xD00))
    [found] = refused_instruction(guest, Fault(vector, 0, None, RIP), AtFault(registers or {}, bits))
    return found


@pytest.mark.parametrize("code", [
    "e800000000", "ffd0", "41ffd4", "ff10", "ff1408", "ff142500100000", "ff1500000000", "ff5008", "ff542408",
    "ff9000010000", "ff94c800010000", "49ff97 00010000",
])  # fmt: skip
def test_every_form_of_a_call_is_seen_before_its_return_address(code: str) -> None:
    assert is_after_call((b"\x90" * 7 + bytes.fromhex(code))[-7:])


@pytest.mark.parametrize("code", ["90909090909090", "e900000000", "ffe0", "ff25 00000000", "ff30", "c3", "ff14"])
def test_jumps_and_pushes_are_no_calls(code: str) -> None:
    assert not is_after_call((b"\x90" * 7 + bytes.fromhex(code))[-7:])


def test_the_target_of_a_relative_call_wraps_around() -> None:
    assert target_of_call(bytes.fromhex("9090e8fbffffff"), 5) == 0
    assert target_of_call(bytes.fromhex("9090e8f0ffffff"), 5) == (1 << 64) - 11


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def test_callers_are_words_behind_calls_newest_first_and_once() -> None:
    code = bytes(16) + bytes.fromhex("e800000000") + bytes(11) + bytes.fromhex("ffd0") + bytes(8)
    one, two = RIP + 21, RIP + 34
    stack = words(5, two, RIP, 1 << 47, one, two, 0xFFFF_FFFF_FFFF_FFFF)
    guest: Any = Guest({RIP: code, STACK: stack})
    assert list(callers(guest, STACK)) == [two, one]


def test_a_caller_whose_code_is_gone_is_known_by_its_file() -> None:
    guest: Any = Guest({RIP: bytes(64), STACK: words(RIP + 21)})
    piece = Piece(Path("kernel.elf"), RIP, bytes(16) + bytes.fromhex("e800000000") + bytes(11))
    assert not list(callers(guest, STACK))
    assert list(callers(guest, STACK, [piece])) == [RIP + 21]


def test_a_stack_that_is_not_mapped_has_no_callers() -> None:
    guest: Any = Guest({RIP: bytes(64)})
    assert not list(callers(guest, STACK))


@pytest.mark.parametrize(("code", "cr4", "title"), [
    ("0f0b9090", OSFXSR, "ud2 at RIP=0x100000: the program gave up by itself"),
    ("ff" * 15, OSFXSR, "no memory answers at RIP=0x100000: it reads as FFh, which is no code"),
    ("060606", OSFXSR, "the bytes at RIP=0x100000 are no instruction"),
    ("0f28c8", 0x20, "`movaps xmm1, xmm0` needs SSE, and CR4.OSFXSR is 0: nobody turned it on"),
    ("c5f877", OSFXSR, "`vzeroupper` needs AVX, and CR4.OSXSAVE is 0: nobody turned it on"),
    ("c5f877", OSFXSR | OSXSAVE, "this CPU does not know `vzeroupper`"),
    ("0fc7f0", OSFXSR, "this CPU does not know `rdrand eax`"),
    ("0f01c2", OSFXSR, "this CPU does not know `vmlaunch`"),
    ("0f05", OSFXSR, "`syscall` needs EFER.SCE, and it is 0: nobody turned it on"),
    ("f3480faec0", OSFXSR, "`rdfsbase rax` needs CR4.FSGSBASE, and it is 0: nobody turned it on"),
    ("0f01d1", OSFXSR, "`xsetbv` needs CR4.OSXSAVE, and it is 0: nobody turned it on"),
])  # fmt: skip
def test_why_an_opcode_is_refused(code: str, cr4: int, title: str) -> None:
    found = why(code, cr4=cr4)
    assert (found.rule, title_of(found)) == ("instruction-refused", title)


def test_without_a_decoder_the_fault_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert title_of(why("0f28c8")) == "the instruction at RIP=0x100000 is refused with #UD"


def test_the_state_at_the_fault_counts_not_what_a_handler_made_of_it() -> None:
    assert "OSFXSR is 0" in title_of(why("0f28c8", cr4=OSFXSR, registers={"CR4": 0x20}))


def test_a_closed_fpu_is_named_by_the_bits_that_close_it() -> None:
    assert title_of(why("d9c0", NM, cr0=0x80000009)) == "`fld st(0)` needs the FPU, and CR0.TS is set"
    assert title_of(why("d9c0", NM, cr0=0x8000000D)).endswith("CR0.EM and TS is set")


@pytest.mark.parametrize(("code", "registers", "rule", "title"), [
    ("0f30", {"RCX": 0xC0000080, "RAX": 0xFFFF, "RDX": 1}, "instruction-refused",
     "`wrmsr` of MSR 0xc0000080, value 0x10000ffff: there is no such MSR, or reserved bits are set"),
    ("0f32", {}, "instruction-refused", "`rdmsr`: there is no such MSR, or reserved bits are set"),
    ("0f30", {"RCX": 0x830, "RAX": 0x4608, "RDX": 1}, "instruction-refused",
     "`wrmsr` of MSR 0x830, value 0x100004608: the ICR of an x2APIC, and x2APIC mode is off"),
    ("0f30", {"RCX": 0x830, "RAX": 0x5608, "RDX": 1}, "instruction-refused",
     "`wrmsr` of MSR 0x830, value 0x100005608: bits 0x1000 of the x2APIC's ICR are reserved"),
    ("0f32", {"RCX": 0x802}, "instruction-refused",
     "`rdmsr` of MSR 0x802: x2APIC mode is off, or it has no such register, or reserved bits are set"),
    ("0f22e0", {"RAX": 0x80000000}, "instruction-refused",
     "`mov cr4, rax` with 0x80000000: bits that this CPU does not have, or not together"),
    ("0f290424", {"RSP": 0x1008}, "stack-misaligned",
     "`movaps xmmword ptr [rsp], xmm0` needs a multiple of 16, and goes to 0x1008"),
    ("0f2900", {"RAX": 0x1008}, "instruction-refused",
     "`movaps xmmword ptr [rax], xmm0` needs a multiple of 16, and goes to 0x1008"),
    ("488b00", {"RAX": 1 << 47}, "non-canonical", "`mov rax, qword ptr [rax]` goes to 0x800000000000, which"
     " is not canonical"),
    ("488b00", {}, "instruction-refused", "`mov rax, qword ptr [rax]` is refused with #GP(0)"),
    ("48cf", {}, "instruction-refused", "`iretq` is refused with #GP(0)"),
])  # fmt: skip
def test_what_a_general_protection_fault_was_about(
    code: str, registers: dict[str, int], rule: str, title: str
) -> None:
    found = why(code, GP, registers=registers)
    assert (found.rule, title_of(found)) == (rule, title)


def test_code_of_32_bits_is_read_as_such() -> None:
    found = why("ea501110000800", GP, bits=32)
    assert title_of(found) == "`ljmp 8:0x101150` is refused with #GP(0)"
    assert "selector 08h: 0x0040980000000000, L=0, D=1, limit 0h" in detail(found)


@pytest.mark.parametrize(("before", "switches"), [
    ("0f22d8", "mov cr3"), ("410f22d9", "mov cr3"), ("0f22c0", "mov cr0"), ("900f22e0", None), ("0f20d8", None), ("", None),
])  # fmt: skip
def test_the_switch_is_a_mov_to_cr3_or_the_one_that_turns_paging_on(before: str, switches: str | None) -> None:
    assert switch_before(bytes.fromhex(before)) == switches


def test_a_pointer_that_nobody_set_is_told_by_the_firmwares_filling() -> None:
    found = why("488b00", GP, registers={"RAX": 0xAFAFAFAFAFAFAFAF})
    assert "nobody has set this" in detail(found) and "Sign-extend" not in fix(found)


def compared(code: bytes, memory: bytes, at: int) -> Finding | None:
    guest: Any = Guest({RIP: memory})
    return overwritten_code(guest, RIP + at, [Piece(Path("kernel.elf"), RIP, code)])


CODE = bytes(range(1, 241)) * 8


def test_code_that_is_the_files_is_silent_also_where_some_of_it_is_patched() -> None:
    assert compared(CODE, CODE, 500) is None
    patched = CODE[:480] + bytes(8) + CODE[488:]
    assert compared(CODE, patched, 500) is None
    far = bytes(400) + CODE[400:]
    assert compared(CODE, far, 500) is None


def test_what_was_overwritten_is_told_with_its_extent_and_filling() -> None:
    found = compared(CODE, CODE[:100] + bytes(401) + CODE[501:], 500)
    assert found is not None
    assert title_of(found) == f"kernel.elf was overwritten at RIP={RIP + 500:#x}, with bytes 00h"
    assert f"{RIP + 100:#x}..{RIP + 500:#x} differs from the file" in detail(found)


def test_an_overwritten_stretch_right_before_rip_counts() -> None:
    found = compared(CODE, CODE[:100] + bytes(380) + CODE[480:], 500)
    assert found is not None and "right before RIP" in title_of(found)


def test_another_file_altogether_is_said_to_be_none_of_it() -> None:
    found = compared(CODE, bytes(byte ^ 0xFF for byte in CODE), 500)
    assert found is not None and title_of(found) == f"what lies at RIP={RIP + 500:#x} is not kernel.elf at all"


def test_a_file_of_another_build_is_not_said_to_be_overwritten() -> None:
    """A line more, and all the code behind it lies a few bytes further."""
    code = b"".join(struct.pack("<I", number * 2654435761 & 0xFFFFFFFF) for number in range(1, 500))
    found = compared(code, code[:400] + bytes(10) + code[400:-10], 500)
    assert found is not None and found.severity is Severity.WARNING
    assert title_of(found).startswith(f"what lies at {RIP + 416:#x}, by RIP={RIP + 500:#x}, is what kernel.elf has at {RIP + 406:#x}: that is of another build")
    strayed = compared(code, code[:400] + bytes(40) + code[440:480] + bytes(40) + code[520:], 500)
    assert strayed is not None and strayed.severity is Severity.ERROR


def test_code_in_no_file_and_code_that_is_not_mapped_are_not_compared() -> None:
    assert compared(CODE, CODE, len(CODE) + 5) is None
    guest: Any = Guest({})
    assert overwritten_code(guest, RIP, [Piece(Path("kernel.elf"), RIP, CODE)]) is None


class Monitor:
    """Tables that map everything one to one, and no memory behind an address."""

    def monitor(self, line: str) -> str:
        at = int(line.split()[-1], 16)
        if at not in (0x1000, 0x2000):
            return f"{at:016x}: Cannot access memory\n"
        entry = 0x83 if at == 0x2000 else 0x2003  # a PDPT of 1 GiB leaves
        rows = range(0, 512, 2)
        return "".join(f"{row:016x}: 0x{entry:016x} 0x{entry:016x}\n" for row in rows)

    def execute(self, command: str, **_: object) -> object:
        raise QmpError(f"{command}: no such file")


def test_a_mapping_to_where_no_memory_is_reads_as_nothing_and_ends() -> None:
    registers = {"CR3": 0x1000, "CR0": 0x80000001, "CR4": 0x20, "EFER": 0xD00}
    guest = StoppedCpu(MonitorMemory(Monitor()), registers)
    assert guest.bytes_at(0x3000, 16) == b""
    assert guest.physical(0x3000, 1 << 20) == b""


def test_operands_of_32_bit_code_count_from_their_segment() -> None:
    """A log of 32-bit code has ESP and ECX: nothing was told of them."""
    guest: Any = Guest({RIP: bytes.fromhex("0f290424")}, segments={"SS": Segment(16, 8, 0xFFFFFFFF, 0xCF9200)})
    at = AtFault({"EIP": RIP, "ESP": 0x1000}, 32, RIP)
    [found] = refused_instruction(guest, Fault(GP, 0, None, RIP), at)
    assert (found.rule, title_of(found)) == (
        "stack-misaligned", "`movaps xmmword ptr [esp], xmm0` needs a multiple of 16, and goes to 0x1008",
    )  # fmt: skip
    assert "of MSR 0xc0000080" in title_of(why("0f30", GP, registers={"ECX": 0xC0000080, "EAX": 2, "EDX": 0}, bits=32))


PAGING_ON, PAE, LME, LMA = 1 << 31, 1 << 5, 1 << 8, 1 << 10


def pae_tables(rights: int) -> Ram:
    """Those of PAE paging, one to one, with these bits in the PDPTE."""
    ram = Ram()
    ram.put(ROOT, struct.pack("<Q", PD | rights))
    return ram


def switched_off(cr0: int, cr4: int, efer: int, ram: Ram | None = None) -> list[str]:
    dead = replace(dead_guest.guest(ram or Ram(), CR4=0), code_bits=32)
    found = long_mode_off(dead, {"CR0": cr0, "CR3": ROOT, "CR4": cr4, "EFER": efer})
    return [title_of(finding) for finding in found]


def test_paging_without_long_mode_is_told_by_what_was_left_out() -> None:
    [no_pae] = switched_off(1, 0x10, LME)
    assert no_pae == "CR4.PAE is 0 where EFER.LME is 1: CR0.PG cannot be set"
    [no_lme] = switched_off(PAGING_ON | 1, PAE, 0)
    assert no_lme.startswith("paging was turned on with EFER.LME=0")


def test_long_mode_and_a_32_bit_system_are_no_mistakes() -> None:
    assert not switched_off(PAGING_ON | 1, PAE, LME | LMA)
    assert not switched_off(PAGING_ON | 1, PAE, 0, pae_tables(1))


def test_long_mode_that_lost_pae_is_told() -> None:
    """TCG goes on, with tables of two levels: an entry of these was blamed."""
    [told] = switched_off(PAGING_ON | 1, 0x10, LME | LMA)
    assert told == "CR4.PAE was cleared in long mode: the PML4 is taken for a page directory"


def test_a_pdpte_that_has_r_w_is_no_pml4_where_the_code_runs() -> None:
    """QEMU's TCG takes it, and goes on: every later death was told as a missing LME."""
    assert not switched_off(PAGING_ON | 1, PAE, 0, pae_tables(3))
    assert not switched_off(PAGING_ON | 1, 0, 0)
    assert not switched_off(1, 0, 0)
