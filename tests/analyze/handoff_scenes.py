"""Boots that have one fault of the handoff each, and boots that almost have it.

Each function breaks (or bends) one thing of ``boot_builder.healthy()``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import boot_builder as b
import numpy as np
from boot_builder import Scene

from cr3scope.input.capture.records import (
    Boot,
    CallRecord,
    Capture,
    CheckRecord,
    Dump,
    LoadedRecord,
    MemoryContents,
    MemoryDescriptor,
    PlanStep,
    RegionRecord,
    SegmentRecord,
    SetRecord,
)
from cr3scope.x86.access import AccessKind

Break = Callable[[Scene], None]
OLD_ROOT = 0x0080_0000
CR4_PGE = 0x80
RFLAGS_IF = 0x202
STALE = 1 << 63 | 2


def firmware_tables(scene: Scene, leaf_bits: int = b.P | b.W) -> dict[int, np.ndarray]:
    """The firmware's tables: 1 GiB identity-mapped by one level of 2 MiB leaves, as dump `old`."""
    pages = {OLD_ROOT + b.PAGE * i: np.zeros(512, np.uint64) for i in range(3)}
    root, pdpt, pd = pages
    pages[root][0] = pdpt | b.P | b.W
    pages[pdpt][0] = pd | b.P | b.W
    for index in range(512):
        pages[pd][index] = index << 21 | leaf_bits | b.PS
    scene.boot.dumps["old"] = Dump(0, "old", OLD_ROOT, 4, pages, frozenset())
    return pages


def old_leaf(pages: dict[int, np.ndarray], virt: int, set_bits: int = 0, clear: int = 0) -> None:
    leaves = pages[OLD_ROOT + 2 * b.PAGE]
    leaves[virt >> 21] = int(leaves[virt >> 21]) & ~clear | set_bits


def stale_key(scene: Scene) -> None:
    scene.boot.exit = (STALE, 1)


def print_after_exit(scene: Scene) -> None:
    scene.boot.exit = (0, 1)
    scene.boot.calls = [CallRecord(0, "ConOut->OutputString", True)]


def info_in(register: str) -> Break:
    def damage(scene: Scene) -> None:
        scene.cpu(**{"rax": 0, "rcx": 0, "rdx": 0, "rsi": 0, "rdi": 0} | {register: b.INFO})
        scene.boot.plan[3] = replace(scene.boot.plan[3], virt=8)

    return damage


def info_in_rcx_and_rdi_readable(scene: Scene) -> None:
    scene.cpu(rcx=b.INFO, rdi=b.STACK_TOP - 64)
    scene.boot.plan[3] = replace(scene.boot.plan[3], virt=b.STACK_TOP - 64)


def push_too_many(scene: Scene) -> None:
    rsp = b.STACK_TOP - 8
    scene.cpu(rsp=rsp)
    scene.boot.plan[1] = replace(scene.boot.plan[1], virt=rsp - 8)
    aligned = PlanStep(
        0, 3, "stack write, 16-byte aligned", AccessKind.WRITE, rsp - 48, 16, b.ENTRY + 6, align=16
    )
    scene.boot.plan.insert(3, aligned)
    number_steps(scene)


def number_steps(scene: Scene) -> None:
    scene.boot.plan = [replace(step, step=i) for i, step in enumerate(scene.boot.plan)]


def breakpoint_after_cr3(scene: Scene) -> None:
    at = b.HANDOFF + 4
    scene.boot.plan.insert(1, PlanStep(0, 1, "int3", AccessKind.FETCH, at, 1, at, vector=3))
    number_steps(scene)


def gates(scene: Scene, selector: int) -> None:
    scene.boot.memories["idt", "handoff"] = MemoryContents(
        0, "idt", "handoff", b.IDT, b.idt(selector=selector)
    )


def foreign_selector_and_int3(scene: Scene) -> None:
    gates(scene, 0x38)
    breakpoint_after_cr3(scene)


def interrupts_on_without_idt(scene: Scene) -> None:
    scene.cpu(rflags=RFLAGS_IF)
    scene.unmap(b.IDT)


def interrupts_on_without_handlers(scene: Scene) -> None:
    scene.cpu(rflags=RFLAGS_IF)
    scene.unmap(b.HANDLERS, 2 * b.PAGE)


def entry_differs(scene: Scene) -> None:
    scene.boot.loaded = [LoadedRecord(0, "kernel.elf", 0, b.ENTRY, None)]


def bss_dirty(scene: Scene) -> None:
    scene.boot.loaded = [LoadedRecord(0, "kernel.elf", 2, None, b.KERNEL + 0x20800)]


def descriptors() -> list[MemoryDescriptor]:
    """A map as firmware gives it: neighbours, of many types."""
    ends = [0xA0, 0x100, 0x800, 0x2000, 0x8000, 0xE000, 0xF000, 0x10000, 0x3FE00, 0x40000]
    types = [7, 0, 7, 2, 2, 2, 4, 5, 7, 6]
    starts = [0, *ends]
    return [
        MemoryDescriptor(first << 12, (end << 12) - 1, type_, 0x8000_0000_0000_000F)
        for first, end, type_ in zip(starts, ends, types, strict=False)
    ]


def walked_with_sizeof(scene: Scene) -> None:
    """48-byte descriptors, read as if they had 40."""
    raw = b"".join(
        struct.pack("<IIQQQQQ", d.type, 0, d.first, 0, (d.last + 1 - d.first) >> 12, 15, 0)
        for d in descriptors() * 3
    )
    found = []
    for at in range(0, len(raw) - 39, 40):
        type_, _, first, _, pages, attributes = struct.unpack_from("<IIQQQQ", raw, at)
        if pages:
            first &= ~0xFFF
            found.append(MemoryDescriptor(first, first + (pages << 12) - 1, type_, attributes))
    scene.boot.memory_map = found


def one_impossible_type(scene: Scene) -> None:
    sane_map(scene)
    scene.boot.memory_map[3] = replace(scene.boot.memory_map[3], type=16)


def overlapping_map(scene: Scene) -> None:
    """All types are good, the ranges are not."""
    scene.boot.memory_map = [
        MemoryDescriptor(first << 20, (first + 3 << 20) - 1, 2, 0xF) for first in range(256)
    ]


def edit_of_live_tables(scene: Scene) -> None:
    pages = firmware_tables(scene)
    old_leaf(pages, OLD_ROOT, clear=b.W)
    old = int(pages[OLD_ROOT][0])
    scene.boot.sets = [SetRecord(0, OLD_ROOT, 4, 0, old, old, b.LOADER + 0x1200)]
    scene.boot.closed = []
    scene.boot.complete = False


def strict_firmware(scene: Scene) -> None:
    old_leaf(firmware_tables(scene), b.HANDOFF, set_bits=b.NX)


def got_missing(scene: Scene) -> None:
    scene.boot.plan[3] = replace(
        scene.boot.plan[3], name="load from the GOT", virt=b.KERNEL + 0x30000
    )


def global_elsewhere(scene: Scene) -> None:
    both_global(scene)
    pages = scene.boot.dumps["old"].tables
    leaves = pages[OLD_ROOT + 2 * b.PAGE]
    leaves[b.LOADER >> 21] = 0x3000_0000 | b.P | b.W | b.PS | b.G


def both_global(scene: Scene) -> None:
    """Every address that both know leads to the same frame with the same rights."""
    for when in ("entry", "handoff"):
        scene.cpu(when, cr4=0x668 | CR4_PGE)
    firmware_tables(scene, b.P | b.W | b.G)
    scene.tables.map(b.LOADER, b.LOADER, 1 << 21, "rwx", 1)
    for named in ("loader.text", "loader.data"):
        record = next(m for m in scene.boot.maps if m.name == named)
        scene.boot.maps[scene.boot.maps.index(record)] = replace(record, rights="rwx")


def entry_default(virt: int) -> Break:
    def damage(scene: Scene) -> None:
        scene.boot.plan[2] = replace(scene.boot.plan[2], virt=virt, rip=virt)

    return damage


def entry_default_under_identity(scene: Scene) -> None:
    scene.tables.map(0x40_0000, 0x40_0000, 0x10000, "rwx")
    entry_default(0x40_1000)(scene)


def entry_in_executable_data(scene: Scene) -> None:
    data = b.KERNEL + 0x20000
    scene.tables.edit(data, 1, clear_bits=b.NX)
    scene.boot.elfs[0] = replace(scene.boot.elfs[0], entry=data)
    entry_default(data)(scene)


def entry_default_under_a_named_identity_map(scene: Scene) -> None:
    scene.map("identity map", "identity", 0x40_0000, 0x40_0000, 1 << 21, "rwx", 2)
    entry_default(0x40_1000)(scene)


def restarted(scene: Scene, exit_: tuple[int, int] | None) -> Capture:
    scene.boot.complete = False
    scene.boot.closed = ["loader"]
    scene.boot.exit = exit_
    capture = scene.capture()
    return Capture(boots=[Boot(closed=["loader"]), *capture.boots])


# -- neighbours: almost the fault, and none ---------------------------------------------------


def exit_at_the_second_attempt(scene: Scene) -> None:
    scene.boot.exit = (0, 2)


def print_before_exit(scene: Scene) -> None:
    scene.boot.calls = [CallRecord(0, "ConOut->OutputString", False)]
    scene.boot.exit = (0, 1)


def info_in_both(scene: Scene) -> None:
    scene.cpu(rcx=b.INFO, rdi=b.INFO)


def info_nowhere_known(scene: Scene) -> None:
    """A kernel of another kind: it looks elsewhere."""
    scene.cpu(rax=0, rcx=0, rdx=0, rsi=0, rdi=0)


def aligned_access_that_is_aligned(scene: Scene) -> None:
    scene.boot.plan.append(
        PlanStep(0, 5, "aligned", AccessKind.WRITE, b.STACK_TOP - 48, 16, b.ENTRY + 9, align=16)
    )


def jump_with_the_word_already_there(scene: Scene) -> None:
    """RSP is 8 below a multiple of 16, and nothing is pushed before the entry."""
    scene.cpu(rsp=b.STACK_TOP - 8)
    del scene.boot.plan[1]
    number_steps(scene)


def jump_to_a_kernel_that_aligns_its_stack(scene: Scene) -> None:
    del scene.boot.plan[1]
    number_steps(scene)


def breakpoint_with_a_good_idt(scene: Scene) -> None:
    breakpoint_after_cr3(scene)


def gates_that_are_absent(scene: Scene) -> None:
    """No handler is a decision: it is not the selector's fault."""
    data = bytes(256 * 16)
    scene.boot.memories["idt", "handoff"] = MemoryContents(0, "idt", "handoff", b.IDT, data)


def gdt_not_recorded(scene: Scene) -> None:
    del scene.boot.memories["gdt", "handoff"]
    gates(scene, 0x20)


def interrupts_off_in_all_but_the_entry(scene: Scene) -> None:
    scene.cpu("entry", rflags=RFLAGS_IF)


def loaded_as_the_file_says(scene: Scene) -> None:
    scene.boot.loaded = [LoadedRecord(0, "kernel.elf", i, None, None) for i in range(3)]


def sane_map(scene: Scene) -> None:
    scene.boot.memory_map = [
        *descriptors(),
        MemoryDescriptor(0x8000_0000, 0x8FFF_FFFF, 11, 1),
        MemoryDescriptor(0x9000_0000, 0x9FFF_FFFF, 0x8000_0001, 1),
        MemoryDescriptor(0xA000_0000, 0xAFFF_FFFF, 0x7000_0000, 1),
        MemoryDescriptor(0xB000_0000, 0xBFFF_FFFF, 15, 1),
    ]


def one_overlap(scene: Scene) -> None:
    sane_map(scene)
    scene.boot.memory_map.append(MemoryDescriptor(0xB000_0000, 0xB000_0FFF, 0, 1))


def small_map_with_one_overlap(scene: Scene) -> None:
    first = MemoryDescriptor(0, 0x0FFF_FFFF, 2, 0xF)
    scene.boot.memory_map = [first, MemoryDescriptor(0x0FFF_0000, 0x0FFF_FFFF, 0, 0xF)]


def edit_of_a_writable_table(scene: Scene) -> None:
    edit_of_live_tables(scene)
    old_leaf(scene.boot.dumps["old"].tables, OLD_ROOT, set_bits=b.W)


def edit_without_write_protection(scene: Scene) -> None:
    edit_of_live_tables(scene)
    scene.cpu("entry", cr0=0x8000_0033)


def edit_by_the_kernel(scene: Scene) -> None:
    """The kernel goes on with the firmware's tables, under rights of its own."""
    edit_of_live_tables(scene)
    scene.boot.sets = [replace(record, line=9) for record in scene.boot.sets]
    scene.boot.checks = [CheckRecord(8, "tables.as-handed", True, "")]


def edit_of_the_new_tables(scene: Scene) -> None:
    pages = firmware_tables(scene)
    old_leaf(pages, b.ROOT, clear=b.W)
    slot = b.ROOT + 8 * 510
    value = scene.tables.get(slot)
    scene.boot.sets = [SetRecord(0, slot, 4, 510, 0, value, b.LOADER + 0x1200)]


def lax_firmware(scene: Scene) -> None:
    old_leaf(firmware_tables(scene), b.STACK_PHYS, set_bits=b.NX)


def nx_bits_without_nxe(scene: Scene) -> None:
    """Reserved then, and not for this rule to judge: such a CPU had not come so far."""
    strict_firmware(scene)
    scene.cpu("entry", efer=0x500)


def not_global(scene: Scene) -> None:
    global_elsewhere(scene)
    old_leaf(scene.boot.dumps["old"].tables, b.LOADER, clear=b.G)


def global_flushed(scene: Scene) -> None:
    global_elsewhere(scene)
    scene.cpu(cr4=0x668)


def loader_of_whom_nobody_told(scene: Scene) -> None:
    """No image, no trampoline: all that is known of the loader's code is an identity map."""
    scene.boot.images.clear()
    text = next(m for m in scene.boot.maps if m.name == "loader.text")
    scene.boot.maps[scene.boot.maps.index(text)] = replace(text, name="low", role="identity")


def kernel_where_it_was_loaded(scene: Scene) -> None:
    """A kernel below 4 GiB runs in the identity map itself, and a function of its is called."""
    low, entry = 0x40_0000, 0x40_1000
    scene.map("identity map", "identity", low, low, 1 << 21, "rwx", 2)
    scene.boot.segments.append(
        SegmentRecord(0, "kernel.elf", 3, low, low + 0x2FFF, low, 0x3000, 0x3000, 0, "r-x")
    )
    scene.boot.elfs[0] = replace(scene.boot.elfs[0], entry=entry)
    scene.boot.plan[2] = replace(scene.boot.plan[2], virt=entry, rip=entry)
    called = PlanStep(0, 5, "kernel_main", AccessKind.FETCH, low + 0x2000, 1, low + 0x2000)
    scene.boot.plan.append(called)


def null_pointer_of_a_low_kernel(scene: Scene) -> None:
    entry = 0x40_0010
    scene.map("low.text", "text", 0x40_0000, 0x40_0000, b.PAGE, "r-x")
    scene.boot.segments.append(
        SegmentRecord(0, "kernel.elf", 3, 0x40_0000, 0x40_0FFF, 0x40_0000, 0x1000, 0x1000, 0, "r-x")
    )
    scene.boot.elfs[0] = replace(scene.boot.elfs[0], entry=entry)
    scene.boot.plan[2] = replace(scene.boot.plan[2], virt=entry, rip=entry)
    scene.boot.plan[3] = replace(scene.boot.plan[3], virt=0x18, rip=entry + 4)


def read_of_a_range_with_a_name(scene: Scene) -> None:
    got_missing(scene)
    first = b.KERNEL + 0x30000
    scene.boot.regions.append(RegionRecord(0, "mailbox", "device", first, first + 0xFFF, None))


def read_through_the_first_argument(scene: Scene) -> None:
    got_missing(scene)
    scene.cpu(rdi=b.KERNEL + 0x30000)


def silent_kernel(scene: Scene) -> None:
    scene.boot.complete = False
    scene.boot.closed = ["loader"]


def restart_behind_a_foreseen_fault(scene: Scene) -> None:
    scene.unmap(b.ENTRY)
