"""What addresses are for in a guest without a trace: told by the kernel's file, by its boot info, by the registers."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from analyze import tiny_elf
from analyze.dead_guest import CODE, GDT, IDT, PAGE, ROOT, STACK, Ram, guest

from cr3scope.diagnose import at_switch, handed_over
from cr3scope.diagnose.dead import page_fault_cause
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.facts.known import known_at_switch, known_of
from cr3scope.diagnose.finding import Severity
from cr3scope.images import boot_info
from cr3scope.images.boot_info import BYTES, MAGIC, read_boot_info
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.kernel_notes import Base, DeclaredAccess, declared_accesses
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.known import Known
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault

PF = 14
NOT_PRESENT_READ, NOT_PRESENT_WRITE, NX_FETCH, READ_ONLY_WRITE = 0, 2, 0x11, 3
NX = 1 << 63
INFO, TEXT, RODATA, OTHER = 0x40000, 0x50000, 0x51000, 0x60000
STACK_TOP = STACK + PAGE
READ, EXECUTE = 4, 1
SWITCH = bytes.fromhex("0f22d8")  # mov cr3, rax
ROOT_DIR = Path(__file__).parents[2]


def info(**changed: int) -> bytes:
    """A boot info at INFO, with one stack and one segment."""
    told = {"version": 1, "size": BYTES, "levels": 4, "root": ROOT, "guard": PAGE, "virt": INFO, "phys": INFO,
            "stack": STACK, "segment": TEXT} | changed  # fmt: skip
    data = bytearray(BYTES)
    struct.pack_into("<8sIIIIQ", data, 0, MAGIC, told["version"], told["size"], told["levels"], 1, told["root"])
    struct.pack_into("<QQQ", data, 48, told["virt"], told["phys"], PAGE)
    struct.pack_into("<I", data, 164, 1)
    struct.pack_into("<QQQQQ", data, 208, STACK - PAGE, 2 * PAGE, told["guard"], PAGE, told["stack"])
    struct.pack_into("<QQQQI", data, 248, TEXT, told["segment"], 64, 64, 5)
    return bytes(data)


def test_the_boot_info_is_read_where_the_header_has_its_fields(tmp_path: Path) -> None:
    fields = {"self": 48, "tables": 72, "initrd": 96, "memory_map": 120, "framebuffer": 168, "segment_count": 164,
              "stacks": 208, "segments": 248}  # fmt: skip
    lines = "".join(f'printf("%zu ", offsetof(struct handoff, {name}));' for name in fields)
    source = tmp_path / "offsets.c"
    source.write_text(
        f'#include <handoff.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{ {lines} '
        'printf("%zu", sizeof(struct handoff)); }\n'
    )
    program = tmp_path / "offsets"
    subprocess.run(["cc", f"-I{ROOT_DIR}/loader/include", source, "-o", program], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    *found, whole = (int(word) for word in said.split())
    assert found == [*fields.values()] and whole >= BYTES  # what is read comes first
    text = (ROOT_DIR / "loader/include/handoff.h").read_text()
    bases = re.findall(r"HANDOFF_BASE_(\w+) =\s+(\d)", text)
    assert {(name, int(number)) for name, number in bases} >= {(base.name, int(base)) for base in Base}
    assert re.search(r"HANDOFF_VERSION (\d)", text)[1] == str(boot_info._INFO_VERSION)  # type: ignore[index]


@pytest.mark.parametrize("changed", [
    {"version": 2}, {"size": 64}, {"levels": 3}, {"root": 0x1001}, {"guard": 1},
])  # fmt: skip
def test_another_version_or_a_damaged_boot_info_is_none(changed: dict[str, int]) -> None:
    assert read_boot_info(info()) is not None
    assert read_boot_info(info(**changed)) is None
    assert read_boot_info(info()[:-1]) is None


def test_a_file_declares_what_is_handed_over_and_nothing_else() -> None:
    handed, own = tiny_elf.declares(0x1000, -4, Base.FRAMEBUFFER_END), tiny_elf.declares(0x2000, 0, 0)
    others = tiny_elf.declares(0x3000, 0, Base.INFO, b"SOMEBODY\0")
    assert list(declared_accesses(others + own + handed)) == [DeclaredAccess(0x1000, -4, Base.FRAMEBUFFER_END)]
    assert list(declared_accesses(handed[:-1])) == []


class Died:
    """A guest that stopped with an exception, whose kernel file is known."""

    def __init__(self, folder: Path, ram: Ram, notes: bytes = b"", text: bytes = b"\x90" * 64) -> None:
        self.ram = ram
        segments = [(TEXT, READ | EXECUTE, text, 64), (RODATA, READ, bytes(8), 8)]
        self.files = [ElfFile(tiny_elf.write(folder / "kernel.elf", TEXT, segments, notes))]
        self.firmware_cr3: int | None = None

    def known(self, fault: Fault, registers: Mapping[str, int]) -> Known:
        at = AtFault({"RIP": fault.rip or 0, "RSP": STACK_TOP - 8, **registers})
        return known_of(self._cpu(), replace(fault, cr3=ROOT), at, self.files, self.firmware_cr3)

    def rules(self, error: int, virt: int, rip: int, **registers: int) -> list[str]:
        """Of a page fault: what the accesses tell, then what the memory does."""
        fault = Fault(PF, error, virt, rip, rsp=registers.get("RSP"))
        known = self.known(fault, registers)
        wrong = handed_over.findings(self._cpu(), LogReport(first=replace(fault, cr3=ROOT)), known)
        found = [*page_fault_cause(self._cpu(), fault, known), *wrong]
        return list(dict.fromkeys(one.rule for one in found))

    def _cpu(self) -> StoppedCpu:
        cpu = guest(self.ram)
        return replace(cpu, ram_ranges=lambda: [(0, len(self.ram.data) - 1)])


@pytest.fixture
def ram() -> Ram:
    found = Ram()
    found.put(INFO, info())
    found.put(TEXT, b"\x90" * 64)
    found.unmap(STACK - PAGE)  # the guard page
    return found


def test_data_of_the_kernel_s_file_that_is_not_mapped_is_named_so(tmp_path: Path, ram: Ram) -> None:
    ram.unmap(RODATA)
    assert Died(tmp_path, ram).rules(NOT_PRESENT_READ, RODATA, TEXT + 8) == ["code-unmapped"]
    ram.unmap(OTHER)
    assert Died(tmp_path, ram).rules(NOT_PRESENT_READ, OTHER, TEXT + 8) == ["access-fault"]


DECLARED = {Base.FRAMEBUFFER: "framebuffer-unmapped", Base.INITRD: "boot-info-unmapped", Base.INFO: "boot-info-unmapped"}


@pytest.mark.parametrize(("base", "rule"), DECLARED.items(), ids=DECLARED.values())
def test_what_the_file_declares_of_the_instruction_at_rip_is_what_it_accessed(
    tmp_path: Path, base: Base, rule: str
) -> None:
    ram = Ram()
    ram.unmap(OTHER)
    died = Died(tmp_path, ram, tiny_elf.declares(TEXT + 4, 0, base))
    assert died.rules(NOT_PRESENT_READ, OTHER, TEXT + 4) == [rule]
    assert died.rules(NOT_PRESENT_READ, OTHER, TEXT + 5) == ["access-fault"]


def test_a_boot_info_in_another_register_is_the_calling_convention(tmp_path: Path, ram: Ram) -> None:
    ram.unmap(0)
    died = Died(tmp_path, ram, tiny_elf.declares(TEXT + 4, 0, Base.INFO))
    assert died.rules(NOT_PRESENT_READ, 0, TEXT + 4, RDI=0, RCX=INFO) == ["abi-mismatch"]
    assert died.rules(NOT_PRESENT_READ, 0, TEXT + 4, RDI=0, R12=INFO) == ["access-fault"]


BEHIND = {"right behind": b"", "on a straight line": bytes.fromhex("31f64889f0")}
ELSEWHERE = {"after a jump": bytes.fromhex("eb00"), "after a push": bytes.fromhex("50"), "after other code": bytes(64)}


@pytest.mark.parametrize("between", BEHIND.values(), ids=BEHIND)
def test_rsp_is_the_switch_s_as_long_as_nothing_changes_it(tmp_path: Path, ram: Ram, between: bytes) -> None:
    assert pushed_at_stack_s_end(tmp_path, ram, between) == ["stack-top-wrong"]


@pytest.mark.parametrize("between", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_stack_that_ran_over_is_no_wrong_rsp(tmp_path: Path, ram: Ram, between: bytes) -> None:
    assert pushed_at_stack_s_end(tmp_path, ram, between) == ["stack-unmapped"]


def pushed_at_stack_s_end(folder: Path, ram: Ram, between: bytes) -> list[str]:
    """A push into the guard page below the stack, with this code between it and the `mov cr3`."""
    ram.put(CODE, SWITCH + between + b"\x6a\x00")
    rip = CODE + len(SWITCH + between)
    return Died(folder, ram).rules(NOT_PRESENT_WRITE, STACK - 8, rip, RSP=STACK, RDI=INFO)


def test_another_root_than_the_boot_info_s_is_named_behind_the_switch_alone(tmp_path: Path, ram: Ram) -> None:
    ram.put(INFO, info(root=0x7000))
    ram.unmap(OTHER)
    ram.put(CODE, SWITCH)
    died = Died(tmp_path, ram)
    assert died.rules(NOT_PRESENT_READ, OTHER, CODE + 3, RDI=INFO) == ["bad-root"]
    assert died.rules(NOT_PRESENT_READ, OTHER, TEXT + 8, RDI=INFO) == ["access-fault"]


def test_who_was_sent_to_data_with_all_that_the_entry_is_handed_was_sent_wrong(tmp_path: Path, ram: Ram) -> None:
    for page in (OTHER - PAGE, OTHER):
        ram.map(page, page | 3 | NX)
    died = Died(tmp_path, ram)
    assert died.rules(NX_FETCH, OTHER, OTHER, RDI=INFO) == ["wrong-entry"]
    for other in ({"RDI": INFO + 8}, {"RDI": INFO, "RSP": STACK_TOP - 16}):
        assert died.rules(NX_FETCH, OTHER, OTHER, **other) == ["nx-leaf-code"]
    ram.map(OTHER - PAGE, OTHER - PAGE | 3)
    assert died.rules(NX_FETCH, OTHER, OTHER, RDI=INFO) == ["nx-leaf-code"], "it may have run there from page to page"


def after_other_bytes(folder: Path, ram: Ram, text: bytes = b"\x90" * 64) -> list[str]:
    """A read that other bytes at the entry made than the file has there."""
    ram.unmap(OTHER)
    return Died(folder, ram, text=text).rules(NOT_PRESENT_READ, OTHER, TEXT, RDI=INFO)


def test_a_kernel_that_is_not_what_its_file_holds_is_named_by_where_the_bytes_are(tmp_path: Path, ram: Ram) -> None:
    other = b"\xcc" * 64
    assert after_other_bytes(tmp_path, ram) == ["access-fault"]
    assert after_other_bytes(tmp_path, ram, other) == ["access-fault", "paddr-misload"]
    ram.put(TEXT, bytes(64))
    assert "wrong-entry" in after_other_bytes(tmp_path, ram, other)


def test_a_kernel_that_was_loaded_well_and_mapped_elsewhere_is_in_the_wrong_frame(tmp_path: Path, ram: Ram) -> None:
    loaded = 0x70000
    ram.put(INFO, info(segment=loaded))
    ram.put(loaded, b"\xcc" * 64)
    assert after_other_bytes(tmp_path, ram, b"\xcc" * 64) == ["access-fault", "wrong-frame"]


def test_a_stack_in_the_kernel_s_own_frames_overlaps_it_whoever_says_otherwise(tmp_path: Path, ram: Ram) -> None:
    ram.map(STACK, TEXT | 3)
    ram.unmap(OTHER)
    died = Died(tmp_path, ram)
    assert died.rules(NOT_PRESENT_READ, OTHER, TEXT + 8, RDI=INFO, RSP=STACK + 8) == [
        "access-fault", "overlapping-image"
    ]  # fmt: skip


def test_a_write_to_the_firmware_s_own_table_is_told_while_it_is_in_force(tmp_path: Path, ram: Ram) -> None:
    ram.map(ROOT, ROOT | 1)
    died = Died(tmp_path, ram)
    died.firmware_cr3 = ROOT
    assert died.rules(READ_ONLY_WRITE, ROOT + 8, CODE) == ["firmware-tables-readonly"]
    died.firmware_cr3 = 0x7000
    assert died.rules(READ_ONLY_WRITE, ROOT + 8, CODE) == ["access-fault"]


def test_two_boot_infos_in_memory_are_none(tmp_path: Path, ram: Ram) -> None:
    died = Died(tmp_path, ram, tiny_elf.declares(TEXT, 0, Base.INITRD))
    fault = Fault(PF, NOT_PRESENT_READ, OTHER, TEXT + 8)
    assert [one.name for one in died.known(fault, {}).maps] == ["boot info", "stack 0"]
    ram.put(OTHER, info(virt=OTHER, phys=OTHER))
    assert died.known(fault, {}).maps == ()
    ram.put(OTHER, info(virt=OTHER, phys=INFO))  # a copy that lies elsewhere than it says
    assert len(died.known(fault, {}).maps) == 2


def at_the_switch(folder: Path, ram: Ram, cr3: int = ROOT, gigapages: bool = True) -> dict[str, Severity]:
    """What is found right before `mov cr3, rax`, with the boot info in RDI."""
    ram.put(CODE, SWITCH)
    died = Died(folder, ram)
    cpu = replace(died._cpu(), registers={**died._cpu().registers, "RAX": cr3, "RDI": INFO, "RSP": STACK_TOP})
    known = known_at_switch(cpu, died.files)
    assert known is not None
    return {one.rule: one.severity for one in at_switch.findings(cpu, known, gigapages)}


@pytest.fixture
def fine(ram: Ram) -> Ram:
    """With an IDT whose gates lead to code."""
    ram.put(TEXT, b"\x90" * 64)
    ram.put(GDT + 8, struct.pack("<Q", 0x00AF9A000000FFFF))
    gate = struct.pack("<HHBBHII", CODE & 0xFFFF, 8, 0, 0x8E, CODE >> 16, 0, 0)
    ram.put(IDT, gate * 32)
    return ram


def test_a_healthy_switch_has_nothing_to_find(tmp_path: Path, fine: Ram) -> None:
    assert at_the_switch(tmp_path, fine) == {}


def test_what_does_no_harm_yet_is_found_at_the_switch(tmp_path: Path, fine: Ram) -> None:
    fine.map(STACK - PAGE, OTHER | 3)
    assert set(at_the_switch(tmp_path, fine)) == {"guard-missing"}
    fine.unmap(STACK - PAGE)
    assert set(at_the_switch(tmp_path, fine, cr3=ROOT | 0x18)) == {"cr3-flags"}
    fine.unmap(RODATA)
    assert set(at_the_switch(tmp_path, fine)) == {"code-unmapped"}
    fine.map(RODATA, RODATA | 3)
    fine.unmap(IDT)
    assert at_the_switch(tmp_path, fine) == {"idt-unmapped": Severity.NOTE}, "it is nobody's that the boot info tells of"


def test_a_stack_that_the_tables_put_into_code_shares_its_memory(tmp_path: Path, fine: Ram) -> None:
    """The boot info tells of other frames, and that is said as well; one that leads to nobody's memory is in a wrong place alone."""
    fine.map(STACK, TEXT | 3)
    found = at_the_switch(tmp_path, fine)
    assert list(found)[0] == "overlapping-image" and found["overlapping-image"] is Severity.ERROR and "wrong-frame" in found
    fine.map(STACK, OTHER | 3)
    assert set(at_the_switch(tmp_path, fine)) == {"wrong-frame"}


@pytest.mark.parametrize("memsz", [(1 << 63) - 1, 1 << 38, 1 << 24])
def test_of_a_segment_that_is_larger_than_memory_nothing_is_asked(tmp_path: Path, fine: Ram, memsz: int) -> None:
    """QEMU would write a file of that size, and answer nothing while it does."""
    asked: list[int] = []
    physical = fine.physical
    fine.physical = lambda phys, length: asked.append(length) or physical(phys, length)  # type: ignore[method-assign, func-returns-value]
    fine.put(CODE, SWITCH)
    died = Died(tmp_path, fine)
    died.files = [ElfFile(tiny_elf.write(tmp_path / "kernel.elf", TEXT, [(TEXT, READ | EXECUTE, b"\x90" * 64, memsz)]))]
    cpu = died._cpu()
    known = known_at_switch(replace(cpu, registers={**cpu.registers, "RAX": ROOT, "RDI": INFO}), died.files)
    assert known is not None
    assert known.loaded == ()
    assert max(asked) <= len(fine.data)


def test_without_a_boot_info_nothing_is_said_of_a_switch(tmp_path: Path) -> None:
    ram = Ram()
    ram.put(CODE, SWITCH)
    died = Died(tmp_path, ram)
    assert known_at_switch(died._cpu(), died.files) is None


def test_every_stack_of_several_has_its_place(ram: Ram) -> None:
    data = bytearray(info())
    struct.pack_into("<I", data, 20, 2)
    struct.pack_into("<QI", data, 144, 480, 48)  # the memory map's bytes and stride
    told = read_boot_info(bytes(data))
    assert told is not None
    assert [(one.virt, one.phys) for one in told.stacks] == [(STACK, STACK), (STACK + 2 * PAGE, STACK + PAGE)]
    assert [one.virt for one in told.guards] == [STACK - PAGE, STACK + PAGE]
    assert (told.memory_map_used, told.descriptor_size) == (480, 48)
