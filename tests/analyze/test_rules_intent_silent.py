"""What looks like a difference between trace and tables and is none, or is another rule's."""

from __future__ import annotations

from dataclasses import replace

import boot_builder as b
import numpy as np
import pytest
from boot_builder import Scene, healthy
from intent_scenes import (
    ALIAS,
    DATA,
    PCD,
    RODATA,
    Break,
    change_map,
    edit,
    findings,
    of_rule,
    point_to,
    poke,
    record_set,
    rodata_takes_the_last_text_page,
    slot_loses,
    stray_page,
    wc_frame_buffer,
    with_rights,
)

from cr3scope.input.capture.records import MemoryDescriptor


def segment_without_its_call(scene: Scene) -> None:
    scene.boot.maps = [record for record in scene.boot.maps if record.name != "kernel.rodata"]


def no_calls_at_all(scene: Scene) -> None:
    scene.boot.maps = []


def same_call_twice(scene: Scene) -> None:
    scene.map("boot-info again", "boot-info", b.INFO, b.INFO_PHYS, b.PAGE, "rw-")


def read_only_alias_of_text(scene: Scene) -> None:
    scene.map("text to read", "rodata", ALIAS, b.KERNEL_PHYS, b.PAGE, "r--")


def boot_info_in_the_loaders_data(scene: Scene) -> None:
    place = b.LOADER + 0x18000
    point_to(scene, b.INFO, place)
    change_map(scene, "boot-info", phys=place)


def memory_map_in_the_page_of_the_boot_info(scene: Scene) -> None:
    scene.map("memory map", "memory-map", ALIAS, b.INFO_PHYS, b.PAGE, "r--")


def tables_shown_to_the_kernel(scene: Scene) -> None:
    scene.map("page tables", "tables", ALIAS, b.ROOT, 4 * b.PAGE, "r--")


def stack_in_the_kernels_data(scene: Scene) -> None:
    change_map(scene, "kernel.data", last=DATA + b.PAGE - 1)
    place = b.KERNEL_PHYS + 0x20000 + b.PAGE
    scene.map("boot stack", "stack", DATA + b.PAGE, place, b.PAGE, "rw-")


def no_attributes(scene: Scene) -> None:
    scene.boot.memory_map = [MemoryDescriptor(0, 0x0FFF_FFFF, 2, 0)]


def stray_absent_entry(scene: Scene) -> None:
    poke(scene, b.INFO + b.PAGE, b.INFO_PHYS | b.W)


def without_no_execute(scene: Scene) -> None:
    """A CPU without NX: everything is executable, and no one can help it."""
    scene.cpu(efer=0x500)
    for page in scene.tables.pages.values():
        page &= np.uint64(b.NX - 1)


def read_only_slot_by_intent(scene: Scene) -> None:
    phys, asked = b.ROOT + 8 * 510, b.ROOT | b.P | b.NX
    scene.tables.put(phys, asked)
    record_set(scene, phys, 0, asked)


def uncached_large_leaf(scene: Scene) -> None:
    edit(scene, b.FRAMEBUFFER, 2, set_bits=PCD)
    change_map(scene, "framebuffer", type="uc-")


def uncached_large_leaf_over_the_tables(scene: Scene) -> None:
    scene.map("all tables", "tables", ALIAS, b.ROOT, 2 << 20, "r--", 2)
    edit(scene, ALIAS, 2, set_bits=PCD)
    change_map(scene, "all tables", type="uc-")


def tables_by_a_field_that_is_write_back_too(scene: Scene) -> None:
    scene.cpu(pat=0x0007_0406_0007_0606)
    edit(scene, b.KERNEL, 2, set_bits=0x8)


def table_of_the_firmware(scene: Scene) -> None:
    """A top-level entry carried over: what is mapped there was asked for by others."""
    borrowed = 0x0090_0000
    scene.tables.pages[borrowed] = np.zeros(512, np.uint64)
    scene.tables.pages[borrowed][0] = b.P | b.W | b.PS
    scene.tables.put(b.ROOT + 8 * 300, borrowed | b.P | b.W)


def no_tables_named(scene: Scene) -> None:
    """A trace that tells of some calls only: what else is mapped is not its subject."""
    stray_page("rwx")(scene)
    scene.tables.records = []


def no_pat_recorded(scene: Scene) -> None:
    scene.cpu(pat=0)
    edit(scene, b.KERNEL, 2, set_bits=PCD)


NEAR_MISSES: list[Break] = [
    no_tables_named,
    no_pat_recorded,
    table_of_the_firmware,
    uncached_large_leaf,
    uncached_large_leaf_over_the_tables,
    tables_by_a_field_that_is_write_back_too,
    segment_without_its_call,
    no_calls_at_all,
    same_call_twice,
    read_only_alias_of_text,
    boot_info_in_the_loaders_data,
    memory_map_in_the_page_of_the_boot_info,
    tables_shown_to_the_kernel,
    stack_in_the_kernels_data,
    no_attributes,
    stray_absent_entry,
    without_no_execute,
    read_only_slot_by_intent,
    wc_frame_buffer,
    slot_loses(0, 0),
]


@pytest.mark.parametrize("change", NEAR_MISSES)
def test_nothing_is_said_of_what_is_no_difference(change: Break) -> None:
    scene = healthy()
    change(scene)
    assert findings(scene) == ()


def test_a_guard_page_that_is_mapped_is_left_to_its_own_rule() -> None:
    scene = healthy()
    scene.tables.map(b.STACK_GUARD, b.STACK_PHYS - b.PAGE, b.PAGE, "rw-")
    assert [finding.rule for finding in findings(scene)] == ["guard-missing"]


def test_a_call_for_the_guard_page_is_left_to_its_own_rule() -> None:
    scene = healthy()
    scene.map("stack 0 and more", "stack", b.STACK_GUARD, b.STACK_PHYS, b.PAGE, "rw-")
    assert [finding.rule for finding in findings(scene)] == ["guard-missing"]


def test_a_slot_elsewhere_is_no_unasked_mapping() -> None:
    scene = healthy()
    scene.tables.put(b.ROOT + 8 * 510, 0)
    scene.tables.put(b.ROOT + 8 * 509, b.ROOT | b.P | b.W | b.NX)
    assert {finding.rule for finding in findings(scene)} == {"recursive-slot"}


def test_an_uncached_entry_that_leads_to_no_known_table_is_left_to_other_rules() -> None:
    scene = healthy()
    poke(scene, b.KERNEL + (64 << 21), 0x0700_0000 | b.P | PCD, 2)
    assert of_rule(scene, "table-memory-type") == []


def test_a_leaf_of_a_shared_page_that_was_set_by_hand_is_no_call_doing() -> None:
    scene = healthy()
    rodata_takes_the_last_text_page(scene)
    virt = b.KERNEL + 2 * b.PAGE
    phys = scene.tables.slot(virt, 1)
    record_set(scene, phys, 0, scene.tables.get(phys))
    assert findings(scene)[0].rule == "nx-leaf-code"


def test_a_range_that_was_asked_for_twice_alike_shares_nothing() -> None:
    scene = healthy()
    scene.map("stack again", "stack", b.STACK_GUARD + b.PAGE, b.STACK_PHYS, 4 * b.PAGE, "rw-")
    edit(scene, b.STACK_TOP - 8, 1, clear_bits=b.W)
    assert findings(scene)[0].rule == "stack-readonly"


def test_code_mapped_no_execute_beside_a_shared_page_is_not_blamed_on_the_page() -> None:
    """The call for the text covers the shared page as well, but it is the text's own call."""
    scene = healthy()
    text, rodata = scene.boot.segments[:2]
    phys = b.KERNEL_PHYS + 2 * b.PAGE
    scene.boot.segments[0] = replace(text, last=b.KERNEL + 2 * b.PAGE + 0x7FF)
    scene.boot.segments[1] = replace(
        rodata, virt=text.virt + 0x2800, last=text.virt + 0x2FFF, phys=phys + 0x800
    )
    scene.unmap(RODATA)
    scene.boot.maps = [record for record in scene.boot.maps if record.name != "kernel.rodata"]
    with_rights(scene, b.KERNEL, "r--", 3)
    change_map(scene, "kernel.text", rights="r--")
    assert findings(scene)[0].rule == "nx-leaf-code"


def test_tables_under_another_root_are_not_compared() -> None:
    scene = healthy()
    scene.cpu(cr3=scene.tables.slot(b.FRAMEBUFFER, 3) & ~0xFFF)  # its 2 MiB leaf then is of 1 GiB
    told = {finding.rule for finding in findings(scene)}
    assert not told & {"mapping-unasked", "wrong-frame", "rights-stronger", "double-map-wx"}
