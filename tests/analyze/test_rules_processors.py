"""The way of the other CPUs, as a trace tells of it: each mistake is named, and the healthy boot of two CPUs is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cr3scope.diagnose.rules.processors import ap_gdt_pointer
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot, Capture, TaskRecord
from cr3scope.model.ap_start import ApStart
from cr3scope.model.code_prediction import predict_code
from cr3scope.model.start_up import CODE, DATA, started_cpu
from cr3scope.render.json import as_dict
from cr3scope.render.message import text
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.verdict.analysis import analyze
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR4_SMEP, EFER_LME, EFER_NXE
from cr3scope.x86.entry import NO_EXECUTE
from cr3scope.x86.platform import Platform
from cr3scope.x86.segment import Segment, in_real_mode
from cr3scope.x86.word import MASK64

TWO_CPUS = (Path(__file__).parent.parent / "captures/healthy-two-cpus.serial.log").read_bytes()
# Offsets in the page of data (loader/handoff/ap_layout.h).
CR0, CR3, CR4, EFER, GDT_LIMIT, GDT_BASE, SELECTOR_32, SELECTOR_64, GDT = 40, 48, 56, 64, 80, 82, 92, 100, 104


def capture() -> Capture:
    return read_capture(TWO_CPUS)


def rules(edit: Callable[[Boot], None]) -> list[str]:
    """The errors and warnings on the boot with an edit."""
    found = capture()
    edit(found.boots[0])
    return [one["rule"] for one in as_dict(analyze(found))["findings"] if one["severity"] != "note"]


def put(offset: int, value: int, width: int = 4) -> Callable[[Boot], None]:
    """Write to the page of data."""

    def edit(boot: Boot) -> None:
        memory = boot.memories[DATA, "handoff"]
        data = memory.data[:offset] + value.to_bytes(width, "little") + memory.data[offset + width :]
        boot.memories[DATA, "handoff"] = replace(memory, data=data)

    return edit


def code(at: bytes, new: bytes) -> Callable[[Boot], None]:
    """Replace bytes of the code that occur once."""

    def edit(boot: Boot) -> None:
        memory = boot.memories[CODE, "handoff"]
        assert memory.data.count(at) == 1 and len(at) == len(new)
        boot.memories[CODE, "handoff"] = replace(memory, data=memory.data.replace(at, new))

    return edit


def in_startup(**fields: int) -> Callable[[Boot], None]:
    def edit(boot: Boot) -> None:
        assert boot.startup is not None
        boot.startup = replace(boot.startup, **fields)

    return edit


def at_stack(top: int) -> Callable[[Boot], None]:
    return lambda boot: boot.aps.__setitem__(0, replace(boot.aps[0], stack=top))


def leaf(change: Callable[[int], int], asked: str | None = None) -> Callable[[Boot], None]:
    """Change the entry that maps the page of code, the last table on its path, and the rights that were asked for: None
    for no mapping at all."""

    def edit(boot: Boot) -> None:
        assert boot.startup is not None
        boot.maps[:] = [one if one.role != CODE else replace(one, rights=asked) for one in boot.maps if asked or one.role != CODE]
        boot.dumps.pop("after")
        tables, phys = boot.dumps["new"].tables, boot.dumps["new"].cr3
        for shift in (39, 30, 21):
            phys = int(tables[phys][boot.startup.code >> shift & 0x1FF]) & 0xFFFFFFFFFF000
        index = boot.startup.code >> 12 & 0x1FF
        tables[phys] = tables[phys].copy()
        tables[phys][index] = change(int(tables[phys][index]))

    return edit


def test_a_healthy_boot_of_two_cpus_has_no_findings() -> None:
    assert rules(lambda boot: None) == []
    assert as_dict(analyze(capture()))["verdict"] == "healthy"


def followed(edit: Callable[[Boot], None] = lambda boot: None) -> ApStart:
    boot = capture().boots[0]
    edit(boot)
    first = cpu_state(boot.cpus["handoff"])
    now = started_cpu(boot, first, Platform.HARDWARE)
    assert now is not None
    return ApStart(now, predict_code(now), first)


def test_the_way_is_followed_from_the_start_up_interrupt_to_64_bit_code() -> None:
    start = followed()
    assert start.seen.refused is None and start.seen.bits == 64 and start.seen.loads == {"gdt", "idt"}
    modes = [step.registers.mode for step in start.seen.steps]
    assert modes == sorted(modes, key=list(CpuMode).index) and set(modes) == set(CpuMode)
    paged = start.paged
    assert paged is not None and (paged.cr0, paged.cr3, paged.efer) == (start.first.cr0, start.first.cr3, start.first.efer)
    assert text(start.seen.end).startswith("not followed further: mov rsp, "), "what the kernel fills in is not known"


SMEP = 0x668 | CR4_SMEP
MISTAKES = {
    "gdt without its segment": (put(GDT_BASE, 0x1068), "ap-gdt-pointer"),
    "gdt too short": (put(GDT_LIMIT, 7, 2), "ap-gdt-pointer"),
    "no PAE": (put(CR4, 0x648), "ap-mode-missing"),
    "no LME": (put(EFER, EFER_NXE), "ap-mode-missing"),
    "no NXE": (put(EFER, EFER_LME), "ap-nxe-missing"),
    "no WP": (put(CR0, 0x80000033), "ap-state-differs"),
    "SMEP": (put(CR4, SMEP), "ap-state-differs"),
    "LA57": (put(CR4, 0x1668), "ap-state-differs"),
    "data for code": (put(SELECTOR_32, 0x10), "ap-far-jump"),
    "code not present": (put(GDT + 8, 0x00CF1B000000FFFF, 8), "ap-far-jump"),
    "32-bit code for 64-bit code": (put(SELECTOR_64, 0x08), "ap-far-jump"),
    "not mapped": (leaf(lambda entry: 0), "ap-trampoline-unmapped"),
    "not executable": (leaf(lambda entry: entry | 1 << 63, "r--"), "ap-trampoline-unmapped"),
    "vector": (in_startup(vector=0x9F), "ap-sipi-vector"),
    "overwritten": (in_startup(differs=0x9E000), "ap-code-overwritten"),
    "stack of the boot CPU": (at_stack(0xFFFFFE0000004000), "ap-stack-shared"),
    "stack in the guard": (at_stack(0xFFFFFE0000006000), "ap-stack-unmapped"),
    "no instruction": (code(b"\xfa\xfc", b"\x0f\x0b"), "ap-start-refused"),
}


@pytest.mark.parametrize(("edit", "rule"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_the_other_cpus_is_named_alone(edit: Callable[[Boot], None], rule: str) -> None:
    assert rules(edit) == [rule]


def test_code_behind_the_known_way_may_still_load_an_idt() -> None:
    """What a trace does not hold it cannot blame: a kernel that loads its IDT in C is healthy."""
    boot = capture()
    code(bytes.fromhex("0f019b18100000"), bytes.fromhex("90" * 7))(boot.boots[0])
    verdict = as_dict(analyze(boot))
    assert verdict["verdict"] == "healthy"
    assert [(one["rule"], one["severity"]) for one in verdict["findings"]] == [("ap-idt-not-loaded", "note")]


def test_half_of_a_root_above_4_gib_is_named() -> None:
    def edit(boot: Boot) -> None:
        handoff, dump = boot.cpus["handoff"], boot.dumps["new"]
        root = dump.cr3 | 1 << 32
        boot.cpus["handoff"] = replace(handoff, registers={**handoff.registers, "cr3": root})
        boot.dumps["new"] = replace(dump, cr3=root, tables={**dump.tables, root: dump.tables[dump.cr3]})

    assert "ap-cr3-truncated" in rules(edit)


def test_two_other_cpus_on_one_stack_are_told() -> None:
    assert rules(lambda boot: boot.aps.append(replace(boot.aps[0], cpu=2, apic_id=2))) == ["ap-stack-shared"]


TASKS = {
    "own": ([(0, 0x1000), (1, 0x2000), (2, 0x3000)], []),
    "shared": ([(0, 0x1000), (1, 0x1000)], ["ap-shared-tss"]),
    "shared by others": ([(0, 0x1000), (1, 0x2000), (2, 0x2000), (3, 0x2000)], ["ap-shared-tss"]),
    "loaded again": ([(0, 0x1000), (0, 0x1000)], []),
    "one for all, in turn": ([(0, 0x1000), (0, 0x2000), (1, 0x1000), (1, 0x3000), (2, 0x1000)], []),
    "one that another has come back to": ([(0, 0x1000), (0, 0x2000), (0, 0x1000), (1, 0x1000)], ["ap-shared-tss"]),
}


@pytest.mark.parametrize(("loads", "expected"), TASKS.values(), ids=TASKS)
def test_a_tss_that_two_cpus_load_is_named_once(loads: list[tuple[int, int]], expected: list[str]) -> None:
    assert rules(lambda boot: boot.tasks.extend(TaskRecord(0, cpu, 0x18, phys) for cpu, phys in loads)) == expected


def test_what_the_trace_does_not_hold_is_not_judged() -> None:
    """Without the bytes of the code nothing is known of the way."""
    assert rules(lambda boot: boot.memories.pop((CODE, "handoff"))) == []


def test_a_gdt_pointer_that_is_filled_in_later_is_not_judged() -> None:
    assert rules(in_startup(later=4096)) == []


# In place of all that follows ``lidt``: the bit is set in 64-bit code, which then stays where it is.
END = bytes.fromhex("488ba308100000488bbb1010000031ed6a00ffa300100000")
SETS_WP = bytes.fromhex("0f20c0" "0d00000100" "0f22c0" "ebfe")  # of CR0
SETS_NXE = bytes.fromhex("b9800000c0" "0f32" "0fbae80b" "0f30" "ebfe")  # of EFER


def ends(new: bytes) -> Callable[[Boot], None]:
    return code(END, new.ljust(len(END), b"\x90"))


def without_nx(*, of: range) -> Callable[[Boot], None]:
    """Clear bit 63 of these entries of every table."""

    def edit(boot: Boot) -> None:
        boot.dumps.pop("after")
        tables = boot.dumps["new"].tables
        for phys, table in tables.items():
            tables[phys] = table.copy()
            tables[phys][of.start : of.stop] &= np.uint64(MASK64 ^ NO_EXECUTE)

    return edit


def all_of(*edits: Callable[[Boot], None]) -> Callable[[Boot], None]:
    def edit(boot: Boot) -> None:
        for one in edits:
            one(boot)

    return edit


DATA_PAGE = range(0x9F, 0xA0)


def test_what_64_bit_code_may_set_behind_paging_is_not_called_missing() -> None:
    assert "ap-state-differs" in rules(all_of(put(CR0, 0x80000033), ends(b"\xeb\xfe")))
    assert rules(all_of(put(CR0, 0x80000033), ends(SETS_WP))) == []
    no_nxe = all_of(put(EFER, EFER_LME), without_nx(of=DATA_PAGE))
    assert "ap-nxe-missing" in rules(all_of(no_nxe, ends(b"\xeb\xfe")))
    assert "ap-nxe-missing" not in rules(all_of(no_nxe, ends(SETS_NXE)))


def test_no_nxe_is_an_error_only_where_an_access_meets_the_bit_and_nothing_where_no_entry_has_it() -> None:
    def severity(edit: Callable[[Boot], None]) -> list[str]:
        found = capture()
        all_of(put(EFER, EFER_LME), edit)(found.boots[0])
        return [one["severity"] for one in as_dict(analyze(found))["findings"] if one["rule"] == "ap-nxe-missing"]

    assert severity(lambda boot: None) == ["error"]
    assert severity(all_of(without_nx(of=DATA_PAGE), ends(b"\xeb\xfe"))) == ["warning"]
    assert severity(without_nx(of=range(512))) == []


def test_32_bit_code_of_long_mode_on_the_way_to_64_bit_code_is_no_mistake() -> None:
    memory = capture().boots[0].memories[CODE, "handoff"]
    following = memory.virt + memory.data.index(END) + 7
    jump = b"\xea" + following.to_bytes(4, "little") + b"\x18\x00"
    assert rules(all_of(put(SELECTOR_64, 0x08), ends(jump + b"\xeb\xfe"))) == []


def test_the_stack_of_the_boot_cpu_is_the_one_that_it_pushes_to_whatever_its_number() -> None:
    """Loaders that number the stacks of the others alone begin with 0."""

    def other(name: str) -> str:
        return name.replace("stack 0", "stack").replace("stack 1", "stack 0")

    def edit(boot: Boot) -> None:
        boot.maps[:] = [replace(one, name=other(one.name)) for one in boot.maps]
        boot.regions[:] = [replace(one, name=other(one.name)) for one in boot.regions]

    assert rules(edit) == []


def test_of_tables_that_the_trace_does_not_hold_nothing_is_said() -> None:
    """Loaders give the other CPUs a root of their own below 4 GiB; a table that was not read was called a reserved bit."""
    other_root = put(CR3, 0x1234000)
    assert rules(other_root) == rules(all_of(other_root, put(EFER, EFER_LME))) == []


def test_a_cpu_that_is_told_twice_shares_no_stack_with_itself() -> None:
    assert rules(lambda boot: boot.aps.append(boot.aps[0])) == []


def test_a_stack_at_0_is_pushed_to_at_the_end_of_the_address_space() -> None:
    found = capture()
    at_stack(0)(found.boots[0])
    [told] = [one for one in analyze(found).findings if one.rule == "ap-stack-unmapped"]
    assert text(told.title).startswith("the first push of CPU 1 goes to 0xfffffffffffffff8, ")


def test_a_vector_that_is_no_byte_is_damage() -> None:
    found = read_capture(TWO_CPUS.replace(b" vector=9e ", b" vector=19e "))
    assert found.damage


def test_a_failed_check_names_its_cpu() -> None:
    def edit(boot: Boot) -> None:
        last = next(check for check in reversed(boot.checks) if check.cpu == 1)
        boot.checks[boot.checks.index(last)] = replace(last, passed=False)

    found = capture()
    edit(found.boots[0])
    [told] = [one for one in analyze(found).findings if one.rule == "kernel-check-failed"]
    assert text(told.title).startswith("the kernel's check failed on CPU 1: ")


class Bytes:
    """Memory without tables."""

    def __init__(self, data: dict[int, int]) -> None:
        self.data = data

    def table(self, phys: int) -> None:
        return None

    def physical(self, phys: int, length: int) -> bytes:
        return b"".join(self.data.get(phys + at, 0).to_bytes(8, "little") for at in range(0, length, 8))[:length]


CODE_32 = 0x00CF_9A00_0000_FFFF


@pytest.mark.parametrize(("memory", "selector", "is_told"), [
    ({0x7070: CODE_32}, 0x700, True),
    ({0x7070: CODE_32, 0x70: CODE_32}, 0x700, False),  # it lies where the pointer says as well
    ({}, 0x700, False),
    ({0x7070: CODE_32}, 8, False),  # CS is no longer that of real mode
], ids=["offset", "both", "nowhere", "flat"])  # fmt: skip
def test_a_gdt_pointer_that_is_an_offset_in_the_segment_is_told_from_the_paused_machine(
    memory: dict[int, int], selector: int, is_told: bool
) -> None:
    cpu = StoppedCpu(
        Bytes(memory), {"CR0": 0x6000_0011, "RIP": 0x18}, 40, {"CS": selector}, gdt=Table(0x68, 0x17), number=1, code_bits=16,
        segments={"CS": in_real_mode(0x700)} if selector == 0x700 else {"CS": Segment(8, 0, MASK64)},
    )  # fmt: skip
    found = [text(one.title) for one in ap_gdt_pointer.of_cpu(cpu, Fault(13, 8, None, 0x7018), [])]
    assert len(found) == is_told
    assert not found or found[0].startswith("CPU 1 has its GDT at 0x68: that is the table's offset in its segment, and the table lies at 0x7068")
