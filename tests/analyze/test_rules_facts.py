"""What findings tell a program: the facts of a rule, by name, beside the words that a person reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import boot_builder as b
import handoff_scenes as handoff
import intent_scenes as intent
import pytest
import table_damage
from boot_builder import Scene, healthy
from core_builder import CODE, NEW, SWITCH, core, cpu, memory

from cr3scope.diagnose.shared.numbered import numbered, together
from cr3scope.diagnose.stopped import findings
from cr3scope.input.capture.records import Dump, MemoryDescriptor, PreflightRecord
from cr3scope.input.sources.open import open_core_file
from cr3scope.message import Message, Origin, message
from cr3scope.model.code_prediction import predict_code
from cr3scope.render import finding as words
from cr3scope.render.message import text
from cr3scope.target.core_cpu import stopped_cpu
from cr3scope.verdict.analysis import analyze

Facts = dict[str, Any]
PAGE_OF_INFO = [hex(b.INFO), hex(b.INFO + b.PAGE - 1)]
POOL = 0xFFFF_FFFF_C000_0000
TEXT = {"name": "kernel.text (text)", "range": [hex(b.KERNEL), hex(b.KERNEL + 3 * b.PAGE - 1)]}
FETCH_OF_ENTRY = {"step": 2, "access": "fetch at kernel entry"}


def facts(rule: str, damage: intent.Break) -> Facts:
    scene = healthy()
    damage(scene)
    return words.facts(next(each for each in analyze(scene.capture()).findings if each.rule == rule))


def raises(error_code: int, virt: int, rip: int) -> Facts:
    return {"vector": 14, "error_code": error_code, "cr2": hex(virt), "rip": hex(rip), "cr3": hex(b.ROOT),
            "rsp": None, "offset": None}  # fmt: skip


def patch_window(scene: Scene) -> None:
    scene.map("patch window", "data", intent.ALIAS, b.KERNEL_PHYS, b.PAGE, "rw-")


def preflight_sees_a_fault(scene: Scene) -> None:
    scene.boot.preflight = [PreflightRecord(0, 2, False, 14, 0x10, b.ENTRY)]


def stack_from_its_first_byte(scene: Scene) -> None:
    rsp = b.STACK_GUARD + b.PAGE
    scene.cpu(rsp=rsp)
    scene.boot.plan[1] = replace(scene.boot.plan[1], virt=rsp - 8)


def root_by_its_address_in_a_pool(scene: Scene) -> None:
    scene.map("pool", "tables", POOL, b.ROOT, 4 * b.PAGE, "rw-")
    scene.cpu(cr3=POOL + b.PAGE)


def initrd_in_boot_services_memory(scene: Scene) -> None:
    scene.map("initrd", "initrd", POOL, 0x0A00_0000, b.PAGE, "r--")
    scene.boot.memory_map = [MemoryDescriptor(0x0A00_0000, 0x0A00_0FFF, 4, 0xF)]


def five_changes_and_a_new_page(scene: Scene) -> None:
    pages = {phys: page.copy() for phys, page in scene.tables.pages.items()}
    pages[b.ROOT][1:6] = 0x800
    pages[0x0A00_0000] = pages[b.ROOT]
    scene.boot.dumps["after"] = Dump(0, "after", b.ROOT, 4, pages, frozenset())


FACTS: list[tuple[str, intent.Break, Facts]] = [
    ("mapping-unasked", intent.stray_page("rw-"), {
        "range": [hex(b.INFO + b.PAGE), hex(b.INFO + 2 * b.PAGE - 1)], "phys": "0x3001000", "rights": "rw--",
        "memory_type": "wb",
    }),
    ("wrong-frame", lambda s: intent.point_to(s, b.INFO, 0x600_0000), {
        "name": "boot-info", "range": PAGE_OF_INFO, "phys": "0x6000000", "call": "the `map` call",
        "asked": hex(b.INFO_PHYS),
    }),
    ("rights-stronger", lambda s: intent.edit(s, b.KERNEL, 1, set_bits=b.W), {
        "name": "kernel.text (text)", "range": [hex(b.KERNEL), hex(b.KERNEL + b.PAGE - 1)],
        "unasked": ["written"], "segment": "kernel.elf segment 0 (text)", "flags": "r-x", "granted": "rwx-",
        "call": "the `map` call", "asked": "r-x",
    }),
    ("double-map-wx", patch_window, {
        "frames": [hex(b.KERNEL_PHYS), hex(b.KERNEL_PHYS + b.PAGE - 1)],
        "writable": {"name": "patch window (data)", "source": None}, "writable_virt": hex(intent.ALIAS),
        "writable_range": [hex(intent.ALIAS), hex(intent.ALIAS + b.PAGE - 1)], "writable_rights": "rw--",
        "executable": {"name": "kernel.text (text)", "source": None}, "executable_virt": hex(b.KERNEL),
        "executable_range": [hex(b.KERNEL), hex(b.KERNEL + 3 * b.PAGE - 1)], "executable_rights": "r-x-",
    }),
    ("overlapping-image", intent.two_stacks_in_one, {
        "one": {"name": "stack0 (stack)", "source": None}, "one_frames": ["0x3010000", "0x3013fff"],
        "other": {"name": "stack1 (stack)", "source": None}, "other_frames": ["0x3013000", "0x3016fff"],
        "frames": ["0x3013000", "0x3013fff"],
    }),
    ("paddr-misload", handoff.entry_differs, {
        "segment_index": 0, "file": "kernel.elf", "virt": hex(b.ENTRY), "phys": hex(b.KERNEL_PHYS + 0x10),
        "memory_type": 2,
    }),
    ("wrong-entry", handoff.entry_default(0x40_1000), {
        "virt": "0x401000", "file": "kernel.elf", "entry_point": hex(b.ENTRY), "linker": "GNU ld",
        **FETCH_OF_ENTRY, "raises": raises(0x10, 0x40_1000, 0x40_1000),
    }),
    ("selector-mismatch", handoff.foreign_selector_and_int3, {
        "selector": "0x38", "gdt_limit": "0x2f", "vectors": [3, 8, 13, 14], "cs": "0x8",
    }),
    ("stale-map-key", handoff.stale_key, {
        "status": hex(handoff.STALE), "meaning": "EFI_INVALID_PARAMETER: the map key is stale", "attempts": 1,
    }),
    ("descriptor-stride", handoff.one_impossible_type, {
        "range": ["0x800000", "0x1ffffff"], "type": "0x10", "descriptors": 14, "impossible": 1, "overlapping": 0,
        "conventional_mib": 773,
    }),
    ("firmware-tables-readonly", handoff.edit_of_live_tables, {
        "entry": {"level": 4, "index": 0, "phys": hex(handoff.OLD_ROOT), "value": "0x801003"},
        "vector": 14, "error_code": 3, "cr2": hex(handoff.OLD_ROOT),
        "leaf": {"level": 2, "index": 4, "phys": "0x802020", "value": "0x800081"},
        "table": [hex(handoff.OLD_ROOT), hex(handoff.OLD_ROOT + b.PAGE - 1)],
    }),
    ("boot-info-unmapped", lambda s: s.unmap(b.INFO), {
        "name": "boot-info", "virt": hex(b.INFO), "step": 3, "access": "read of the boot info",
        "raises": raises(0, b.INFO, 0xFFFF_FFFF_8000_0014),
        "denied": [{"name": "boot-info", "range": PAGE_OF_INFO}],
    }),
    ("preflight-disagrees", preflight_sees_a_fault, {
        **FETCH_OF_ENTRY, "loader": {**raises(0x10, b.ENTRY, 0), "rip": None, "cr3": None}, "model": "ok",
    }),
    ("nx-upper-level", lambda s: s.tables.edit(b.ENTRY, 4, set_bits=b.NX) and None, {
        "entry": {"level": 4, "index": 511, "phys": hex(b.ROOT + 8 * 511), "value": "0x8000000001004003"},
        **FETCH_OF_ENTRY, "raises": raises(0x11, b.ENTRY, b.ENTRY), "denied": [TEXT],
    }),
    ("upper-level-supervisor", table_damage.user_range_under_supervisor, {
        "entry": {"level": 2, "index": 0, "phys": "0x100b000", "value": "0x100c003"},
        "denied": {"name": "boot-info", "range": PAGE_OF_INFO},
        "leaf": {"level": 1, "index": 0, "phys": "0x100c000", "value": "0x8000000003000007"},
    }),
    ("smep-smap-user-bit", lambda s: table_damage.user(s, b.INFO), {
        "ranges": [{"name": "boot-info", "range": PAGE_OF_INFO}],
        "user_entries": [
            {"level": 4, "index": 504, "phys": "0x1000fc0", "value": "0x100a007"},
            {"level": 3, "index": 0, "phys": "0x100a000", "value": "0x100b007"},
            {"level": 2, "index": 0, "phys": "0x100b000", "value": "0x100c007"},
            {"level": 1, "index": 0, "phys": "0x100c000", "value": "0x8000000003000007"},
        ],
    }),
    ("stack-top-wrong", stack_from_its_first_byte, {
        "rsp": hex(b.STACK_GUARD + b.PAGE), "stack": "stack0", "top": hex(b.STACK_TOP),
        "step": 1, "access": "push of the return address",
        "raises": raises(2, b.STACK_GUARD + b.PAGE - 8, b.HANDOFF),
    }),
    ("abi-mismatch", handoff.info_in("rcx"), {
        "register": "RCX", "rdi": "0x0", "value": hex(b.INFO), "name": "boot-info",
        "step": 3, "access": "read of the boot info", "raises": raises(0, 8, 0xFFFF_FFFF_8000_0014),
    }),
    ("cr3-flags", lambda s: table_damage.cr3(s, 0x19), {
        "cr3": hex(b.ROOT + 0x19), "root": hex(b.ROOT), "caching": ["PWT: write-through", "PCD: uncached"],
        "ignored": "0x1",
    }),
    ("cr3-high-bits", root_by_its_address_in_a_pool, {
        "cr3": hex(POOL + b.PAGE), "reserved": "0xffffff0000000000", "phys_bits": 40, "pool": "pool (tables)",
        "phys": hex(b.ROOT + b.PAGE),
    }),
    ("missing-cli", handoff.interrupts_on_without_idt, {
        "rflags": "0x202", "idt": [hex(b.IDT + 0x200), hex(b.IDT + 0xFFF)], "first_gate": hex(b.IDT + 0x200),
    }),
    ("virt-address-in-entry", lambda s: table_damage.virtual_address(s) and None, {
        "entry": {"level": 2, "index": 0, "phys": "0x1005000", "value": "0xfffffc0001006003"},
        "virt": "0xfffffc0001006000", "phys": "0x1006000", "pool": "page tables (tables)", "pool_phys": hex(b.ROOT),
        **FETCH_OF_ENTRY, "raises": raises(0x19, b.ENTRY, b.ENTRY), "denied": [TEXT],
    }),
    ("tables-reclaimed", initrd_in_boot_services_memory, {
        "name": "initrd", "range": ["0xa000000", "0xa000fff"], "efi_type": "EfiBootServicesData",
    }),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "damage", "expected"), FACTS, ids=[row[0] for row in FACTS])
def test_a_finding_tells_a_program_its_facts_by_name(rule: str, damage: intent.Break, expected: Facts) -> None:
    assert facts(rule, damage) == expected


def test_like_facts_of_several_lines_are_numbered() -> None:
    found = facts("descriptor-stride", handoff.overlapping_map)
    assert found["range"] == ["0x100000", "0x3fffff"] and found["other_range"] == ["0x0", "0x2fffff"]
    assert found["range_4"] == ["0x400000", "0x6fffff"] and "range_5" not in found
    assert (numbered("entry", 1), numbered("entry", 2)) == ("entry", "entry_2")


def test_each_of_the_changed_entries_has_its_old_and_its_new_value() -> None:
    found = facts("tables-changed", five_changes_and_a_new_page)
    assert (found["entry"]["index"], found["value"], found["more"]) == (1, "0x800", 1)
    assert (found["entry_4"]["index"], found["value_4"]) == (4, "0x800") and "entry_5" not in found
    assert (found["pages"], found["first_page"]) == (1, "0xa000000")


def test_an_origin_is_shown_with_the_line_that_asked_for_it_or_by_name_alone() -> None:
    known, unknown = Origin("stack0", "map.c:12"), Origin("stack0", None)
    said = [message("{what}", what=known), message("{what:name}", what=known), message("{what}", what=unknown)]
    assert [text(each) for each in said] == ["stack0 at map.c:12", "stack0", "stack0"]


def test_several_words_are_joined_as_the_template_says() -> None:
    assert text(message("may be {uses:and}", uses=("written", "executed"))) == "may be written and executed"
    assert text(message("may be {uses:;}", uses=("written", "executed"))) == "may be written; executed"
    assert text(message("may be {uses}", uses=("written", "executed"))) == "may be written, executed"


def test_messages_that_are_put_together_keep_their_facts() -> None:
    parts = [Message("{braces} of a guest"), message("at {virt}", virt=1), message("by {who}", who="{who}")]
    assert text(together(parts)) == "{braces} of a guest; at 1; by {who}"
    assert text(together(parts[:1])) == "{braces} of a guest"


@pytest.mark.parametrize(
    ("code", "register", "expected"),
    [
        (SWITCH, {"RAX": NEW | 1 << 60}, {
            "instruction": "mov cr3, rax", "cr3": hex(NEW | 1 << 60), "rip": hex(CODE), "reserved": hex(1 << 60),
            "phys_bits": 52,
        }),
        (SWITCH.replace("50 58", "0f0b"), {}, {
            "instruction": "ud2", "why": "the program gives up by itself", "rip": hex(CODE + 3),
        }),
    ],
    ids=["cr3-high-bits", "instruction-refused"],
)  # fmt: skip
def test_an_instruction_that_is_refused_by_itself_is_a_fact_beside_its_registers(
    tmp_path: Path, code: str, register: dict[str, int], expected: Facts
) -> None:
    path = core(tmp_path, memory(code), cpu(**register), platform="hardware")
    now = stopped_cpu(open_core_file(Path(path)), path)
    (finding,) = findings(now, predict_code(now))
    assert words.facts(finding) == expected
