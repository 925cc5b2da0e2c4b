"""What a mov to a control register or a wrmsr to EFER comes to, in every mode (SDM 2B, MOV; 3A, 5.1.2 and 5.4.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cr3scope.diagnose.stopped import findings
from cr3scope.input.sources.open import open_core_file
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.model.control_change import ControlChange, control_change
from cr3scope.paging.tables import Entries
from cr3scope.render.message import text
from cr3scope.target.core_cpu import stopped_cpu
from cr3scope.target.saved import core_of
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.verdict.stopped import judge_stopped
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import EFER_LMA, CpuState, PagingMode
from cr3scope.x86.decode.instruction import decode
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.descriptors import Descriptor
from cr3scope.x86.platform import Platform
from cr3scope.x86.segment import Segment, in_real_mode

TO_CR0, TO_CR3, TO_CR4, WRMSR = "0f22c0", "0f22d8", "0f22e0", "0f30"
PE, PG, PAE, LME, NXE, PCIDE, LA57 = 1, 1 << 31, 1 << 5, 1 << 8, 1 << 11, 1 << 17, 1 << 12
EFER = 0xC0000080
OFF = CpuState(0, cr0=PE, cr4=0, efer=0, max_phys_bits=40)
LONG = CpuState(0, cr0=PE | PG, cr4=PAE, efer=LME | EFER_LMA, max_phys_bits=40)
PDPT, DIRECTORY, CODE, STACK = 0x1000, 0x2000, 0x4000, 0x6000


class Memory:
    """64 KiB."""

    def __init__(self) -> None:
        self.bytes = bytearray(1 << 16)

    def put(self, at: int, value: int, width: int) -> None:
        self.bytes[at : at + width] = value.to_bytes(width, "little")

    def table(self, phys: int) -> Entries | None:
        data = self.physical(phys, 4096)
        return np.frombuffer(data, "<u8") if len(data) == 4096 else None

    def physical(self, phys: int, length: int) -> bytes:
        return bytes(self.bytes[phys : phys + length])


def changed(
    code: str, cpu: CpuState, platform: Platform = Platform.HARDWARE, memory: Memory | None = None, bits: int = 32, **registers: int
) -> ControlChange:
    found = control_change(decode(bytes.fromhex(code), 0, bits), KnownRegisters(registers).get, cpu, memory, platform)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("cpu", "value", "mode"),
    [
        (OFF, PE | PG, PagingMode.BITS_32), (replace(OFF, cr4=PAE), PE | PG, PagingMode.PAE),
        (replace(OFF, cr4=PAE, efer=LME), PE | PG, PagingMode.LEVELS_4),
        (replace(OFF, cr4=PAE | LA57, efer=LME), PE | PG, PagingMode.LEVELS_5),
        (replace(OFF, cr0=PE | PG), PE, PagingMode.NONE), (LONG, PE, PagingMode.NONE),
    ],
)  # fmt: skip
def test_pg_turns_on_the_mode_that_pae_and_lme_want(cpu: CpuState, value: int, mode: PagingMode) -> None:
    found = changed(TO_CR0, cpu, rax=value)
    assert found.refused is None and found.cpu.paging_mode is mode
    assert bool(found.cpu.efer & EFER_LMA) is (mode in (PagingMode.LEVELS_4, PagingMode.LEVELS_5))


@pytest.mark.parametrize(
    ("code", "cpu", "registers", "rule"),
    [
        (TO_CR0, replace(OFF, cr0=0), {"rax": PG}, "paging-without-pe"),
        (TO_CR0, replace(OFF, efer=LME), {"rax": PE | PG}, "long-mode-off"),
        (WRMSR, replace(OFF, cr0=PE | PG), {"rcx": EFER, "rax": LME, "rdx": 0}, ""),
        (TO_CR4, LONG, {"rax": 0}, ""), (TO_CR4, LONG, {"rax": PAE | LA57}, ""),
        (TO_CR4, OFF, {"rax": PCIDE}, "pcide-order"), (TO_CR4, replace(LONG, cr3=8), {"rax": PAE | PCIDE}, "pcide-order"),
    ],
    ids=["PG without PE", "LME without PAE", "LME under PG", "PAE cleared", "LA57 set", "PCIDE too early", "PCIDE with a PCID"],
)  # fmt: skip
def test_what_is_refused_with_gp(code: str, cpu: CpuState, registers: dict[str, int], rule: str) -> None:
    found = changed(code, cpu, **registers)
    assert found.refused is not None and (found.refused.vector, found.refused.error_code) == (13, 0)
    assert found.refused.rule == rule


def test_the_healthy_twins_go_through() -> None:
    assert changed(TO_CR0, replace(OFF, cr0=0), rax=PG | PE).refused is None
    assert changed(TO_CR0, replace(OFF, cr4=PAE, efer=LME), rax=PE | PG).refused is None
    assert changed(WRMSR, OFF, rcx=EFER, rax=LME | NXE, rdx=0).cpu.efer == LME | NXE
    assert changed(WRMSR, LONG, rcx=EFER, rax=LME | NXE, rdx=0).cpu.efer == LME | NXE | EFER_LMA
    assert changed(TO_CR4, OFF, rax=PAE | LA57).refused is None
    assert changed(TO_CR4, LONG, rax=PAE | PCIDE).refused is None


def test_tcg_takes_pg_alone_and_drops_what_lacks_pae() -> None:
    assert changed(TO_CR0, replace(OFF, cr0=0), Platform.TCG, rax=PG).refused is None
    dropped = changed(TO_CR0, replace(OFF, efer=LME), Platform.TCG, rax=PE | PG)
    assert dropped.refused is None and dropped.cpu.cr0 == PE


@pytest.mark.parametrize(("entry", "refused"), [(DIRECTORY | 1, False), (DIRECTORY | 3, True), (DIRECTORY | 1 << 45 | 1, True), (DIRECTORY | 2, False)])
def test_the_load_of_pdptes_compares_their_reserved_bits(entry: int, refused: bool) -> None:
    memory = Memory()
    memory.put(PDPT + 8, entry, 8)
    on = changed(TO_CR0, replace(OFF, cr3=PDPT, cr4=PAE), memory=memory, rax=PE | PG)
    loaded = changed(TO_CR3, replace(OFF, cr0=PE | PG, cr4=PAE), memory=memory, rax=PDPT)
    for found in (on, loaded):
        assert (found.refused is not None) is refused
        assert found.refused is None or (found.refused.rule, found.refused.entry is not None) == ("reserved-bits", True)
    assert changed(TO_CR0, replace(OFF, cr3=PDPT, cr4=PAE), Platform.TCG, memory, rax=PE | PG).refused is None


def test_other_instructions_and_unknown_values_change_nothing() -> None:
    for code, registers in (("0f20c0", {}), (WRMSR, {"rcx": 0x10, "rax": 1, "rdx": 0}), (WRMSR, {"rax": 1, "rdx": 0}), (TO_CR0, {})):
        assert control_change(decode(bytes.fromhex(code), 0, 32), KnownRegisters(registers).get, OFF, None, Platform.HARDWARE) is None


def machine(code: str, cr4: int = 0, root: int = DIRECTORY, **registers: int) -> tuple[Memory, StoppedCpu]:
    """A CPU in 32-bit code without paging, at ``code``; the directory maps 4 MiB at 0 by a large page."""
    memory = Memory()
    memory.bytes[CODE : CODE + len(bytes.fromhex(code))] = bytes.fromhex(code)
    memory.put(DIRECTORY, 0x83, 4)
    segments = {"CS": Descriptor(0x00CF9A000000FFFF).segment(8), "SS": Descriptor(0x00CF92000000FFFF).segment(16)}
    told = {"RIP": CODE, "RSP": STACK, "CR0": PE, "CR3": root, "CR4": cr4, "EFER": 0, **registers}
    return memory, StoppedCpu(
        memory, told, 40, {"CS": 8, "SS": 16}, Table(0, 0), Table(0, 0), code_bits=32, platform=Platform.HARDWARE, segments=segments,
    )  # fmt: skip


def at_cr0(cr4: int, root: int = DIRECTORY) -> tuple[StoppedCpu, CodePrediction]:
    _, now = machine(f"{TO_CR0}9090ebfe", cr4, root, RAX=PE | PG)
    return now, predict_code(now)


def test_the_mov_to_cr0_that_turns_paging_on_is_a_switch() -> None:
    """Before, the way ended at it, and nothing was said of what follows."""
    _, healthy = at_cr0(cr4=0x10)
    assert healthy.fault is None and healthy.count == 3
    now, seen = at_cr0(cr4=0)  # PS without PSE: the page table at 0 is empty
    assert seen.fault is not None and (seen.fault.vector, seen.fault.error_code, seen.fault.cr2) == (14, 0, CODE + 3)
    found = findings(now, seen)[0]
    assert found.rule == "large-pages-off" and found.entry is not None and (found.entry.level, found.entry.index) == (2, 0)


def test_tables_of_another_mode_are_known_at_the_mov_to_cr0() -> None:
    now, seen = at_cr0(cr4=PAE)
    assert seen.fault is not None and seen.fault.vector == 13  # 83h is no PDPTE: its load is refused
    assert [one.rule for one in findings(now, seen)] == ["reserved-bits"]
    tcg = replace(now, platform=Platform.TCG)
    assert [one.rule for one in findings(tcg, predict_code(tcg))] != []


def test_real_mode_code_is_followed_into_protected_mode() -> None:
    """lgdt; mov eax, cr0 known; mov cr0; ljmp 8:.. ; mov ax, 10h; mov ss, ax; push eax; jmp $."""
    memory = Memory()
    code = bytes.fromhex("0f011600700f22c0ea0b400800" "66b81000" "8ed0" "50" "ebfe".replace(" ", ""))
    memory.bytes[CODE : CODE + len(code)] = code
    target = CODE + 0xD
    memory.put(CODE + 9, target & 0xFFFF, 2)
    memory.put(0x7000, 0x17 | 0x7010 << 16, 6)
    for number, value in enumerate((0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF)):
        memory.put(0x7010 + 8 * number, value, 8)
    now = StoppedCpu(
        memory, {"RIP": 0, "RSP": STACK, "CR0": 0, "CR3": 0, "CR4": 0, "EFER": 0, "RAX": PE}, 40, {"CS": CODE >> 4, "SS": 0},
        Table(0, 0x3FF), Table(0, 0), code_bits=16, platform=Platform.HARDWARE,
        segments={"CS": in_real_mode(CODE >> 4), "SS": in_real_mode(0), "DS": in_real_mode(0)},
    )  # fmt: skip
    seen = predict_code(now)
    assert seen.fault is None, text(seen.end)
    assert seen.last.mode is CpuMode.PROTECTED and seen.last.cs == 8 and seen.last.rip == target + 7, text(seen.end)
    assert [step.virt for step in seen.steps if step.role.is_stack] == [STACK - 4]


def test_a_segment_s_base_and_limit_count_in_32_bit_code() -> None:
    """mov eax, [1000h] and a push, in segments of base 3000h: linear addresses are base + offset."""
    memory, flat = machine("a100100000" "50" "ebfe")
    based = {name: replace(one, base=0x3000, limit=0x3FFF) for name, one in flat.segments.items()}
    based |= {"DS": Segment(16, 0x3000, 0x1003, Descriptor(0x00CF92000000FFFF).value >> 32)}
    now = replace(flat, segments=based, registers={**flat.registers, "RIP": CODE - 0x3000, "RSP": STACK - 0x3000})
    seen = predict_code(now)
    assert [step.virt for step in seen.steps] == [CODE, 0x4000, STACK - 4] and seen.fault is None
    short = replace(now, segments={**based, "DS": replace(based["DS"], limit=0x1002)})
    seen = predict_code(short)
    assert seen.fault is not None and (seen.fault.vector, seen.fault.error_code) == (13, 0)
    assert predict_code(replace(short, platform=Platform.TCG)).fault is None


def test_lmsw_turns_protected_mode_on_and_never_off() -> None:
    """Before, a far jump behind it was followed as one of real mode."""
    assert changed("0f01f0", replace(OFF, cr0=0x10), bits=16, rax=PE | 2).cpu.cr0 == 0x10 | PE | 2
    assert changed("0f01f0", replace(OFF, cr0=PE | 8), rax=0).cpu.cr0 == PE
    assert control_change(decode(bytes.fromhex("0f0130"), 0, 16), KnownRegisters({}).get, OFF, None, Platform.HARDWARE) is None
    _, now = machine("0f0130" "50" "ebfe")  # from memory: what it loads is not asked
    assert predict_code(now).count == 0


def test_paging_cannot_be_turned_off_by_64_bit_code() -> None:
    refused = changed(TO_CR0, LONG, bits=64, rax=PE).refused
    assert refused is not None and (refused.vector, refused.error_code) == (13, 0)
    taken = changed(TO_CR0, LONG, Platform.TCG, bits=64, rax=PE)
    assert taken.refused is None and not taken.cpu.efer & EFER_LMA


def test_tcg_changes_the_bits_of_long_mode_without_a_word() -> None:
    assert changed(WRMSR, LONG, Platform.TCG, rcx=EFER, rax=NXE, rdx=0).refused is None
    assert changed(TO_CR4, LONG, Platform.TCG, rax=0).refused is None


def based(code: str, platform: Platform = Platform.TCG, **registers: int) -> StoppedCpu:
    """A CPU whose DS has another base than CS and SS."""
    _, flat = machine(code, **registers)
    data = Segment(16, 0x3000, 0xFFFFFFFF, Descriptor(0x00CF92000000FFFF).value >> 32)
    return replace(flat, segments={**flat.segments, "DS": data}, platform=platform)


@pytest.mark.parametrize(
    ("code", "at"),
    [("8d4304" "8900" "ebfe", 0x3104), ("d7" "ebfe", 0x3101), ("2ed7" "ebfe", None)],
    ids=["lea eax, [ebx + 4]; mov [eax], eax", "xlatb", "cs xlatb"],
)
def test_an_offset_gets_the_base_of_its_segment_once(code: str, at: int | None) -> None:
    """Before, LEA returned a linear address, to which the base was added again, and XLAT had none."""
    seen = predict_code(based(code, RBX=0x100, RAX=1))
    assert [step.virt for step in seen.steps if step.kind.value != "fetch" and not step.role.is_stack] == ([] if at is None else [at])


@pytest.mark.parametrize(
    ("flags", "loaded", "reads"), [(2, 0x20202, 3), (2, 2 | 1 << 17, 3), (1 << 14 | 2, 2, 0)], ids=["VM, IF", "VM", "NT now"]
)
def test_an_iret_to_virtual_8086_mode_or_to_a_task_is_not_taken_for_another(flags: int, loaded: int, reads: int) -> None:
    """Before, the selector was looked up in the GDT, and refused."""
    memory, now = machine("cf", RFL=flags)
    for place, word in enumerate((0, 0x1000, loaded)):
        memory.put(STACK + 4 * place, word, 4)
    seen = predict_code(now)
    assert seen.fault is None and text(seen.end).startswith("not followed further: iretd")
    assert sum(step.role.is_stack and step.kind.value == "read" for step in seen.steps) == reads


GDT = 0x7000


def with_descriptor(code: str, value: int, **registers: int) -> CodePrediction:
    """In protected mode, with this descriptor at selector 18h."""
    memory, now = machine(code, RAX=0x18, **registers)
    memory.put(GDT + 0x18, value, 8)
    return predict_code(replace(now, gdt=Table(GDT, 0x1F)))


def test_protected_mode_takes_a_tss_of_16_bits_and_names_no_64_bit_one() -> None:
    load = "0f00d8" "ebfe"  # ltr ax
    assert with_descriptor(load, 0x0000810080000067).fault is None
    busy = with_descriptor(load, 0x00008B0080000067)
    assert busy.own is not None and text(busy.own.refused.why) == "selector 18h is no available TSS: 0x00008b0080000067"


def test_outside_long_mode_the_bit_l_means_nothing() -> None:
    """L and D both set are refused in long mode alone (SDM 2A, JMP)."""
    assert with_descriptor("ea074000001800" "ebfe", 0x00EF9A000000FFFF).fault is None


@pytest.mark.parametrize("code", ["8ed8" "ebfe", "ea05000004" "ebfe"], ids=["mov ds, ax", "ljmp"])
def test_a_selector_of_virtual_8086_mode_is_no_descriptor(code: str) -> None:
    memory, flat = machine(code, RFL=1 << 17 | 2, RAX=0x1230)
    segments = {name: in_real_mode(value) for name, value in (("CS", CODE >> 4), ("SS", 0x200), ("DS", 0x300))}
    told = {**flat.registers, "RIP": 0, "RSP": 0x1000}
    now = replace(flat, registers=told, segments=segments, selectors={"CS": CODE >> 4, "SS": 0x200}, code_bits=16)
    seen = predict_code(now)
    assert seen.fault is None and text(seen.end).startswith("an endless loop"), text(seen.end)
    assert now.delivery_registers.cpl == 3


@pytest.mark.parametrize("code", ["0f34", "ce", "0faa", "6201"], ids=["sysenter", "into", "rsm", "bound"])
def test_what_goes_elsewhere_is_not_followed(code: str) -> None:
    _, now = machine(f"{code}ebfe")
    assert text(predict_code(now).end).startswith("not followed further")


def test_flags_that_were_changed_on_the_stack_are_not_those_that_were_pushed() -> None:
    """pushfd; or dword [esp], 100h; popfd: the trap flag. Before, the flags that PUSHFD had left came back."""
    _, now = machine("9c" "810c2400010000" "9d" "ebfe", RFL=2)
    assert text(predict_code(now).end).startswith("not followed further: popfd")
    _, now = machine("9c" "9d" "ebfe", RFL=2)
    assert predict_code(now).count == 3


def test_a_core_that_was_saved_at_the_mov_to_cr0_gives_the_same_verdict(tmp_path: Path) -> None:
    """It was refused: no CPU of it has paging on. The walk is that behind the switch."""
    memory, now = machine(f"{TO_CR0}9090ebfe", RAX=PE | PG)
    pages = {at: memory.physical(at, 4096) for at in range(0, 1 << 16, 4096)}
    (tmp_path / "core").write_bytes(core_of(now, pages, DIRECTORY))
    judged = judge_stopped(stopped_cpu(open_core_file(tmp_path / "core"), "core"))
    verdict = judged.verdict
    assert [one.rule for one in verdict.findings if one.entry] == ["large-pages-off"] and not verdict.diagnostics
    assert verdict.walk is not None and [one.entry.level for one in verdict.walk.levels] == [2, 1]
