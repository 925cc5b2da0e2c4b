"""Small changes to a healthy boot, each of which makes tables and trace disagree in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import boot_builder as b
from boot_builder import Scene

from cr3scope.diagnose.finding import Finding
from cr3scope.input.capture.records import MemoryDescriptor, SetRecord
from cr3scope.model.asked.window import window_of
from cr3scope.verdict.analysis import analyze

Break = Callable[[Scene], None]

PCD, PAT_4K = 0x10, 0x80
ALIAS = 0xFFFF_FC80_0000_0000
RODATA, DATA = b.KERNEL + 0x10000, b.KERNEL + 0x20000
PAT_WITH_WC = 0x0007_0401_0007_0406


def findings(scene: Scene) -> tuple[Finding, ...]:
    return analyze(scene.capture()).findings


def of_rule(scene: Scene, rule: str) -> list[Finding]:
    return [finding for finding in findings(scene) if finding.rule == rule]


def poke(scene: Scene, virt: int, value: int, level: int = 1) -> None:
    scene.tables.put(scene.tables.slot(virt, level), value)


def point_to(scene: Scene, virt: int, phys: int) -> None:
    flags = scene.tables.get(scene.tables.slot(virt, 1)) & ~0x000F_FFFF_FFFF_F000
    poke(scene, virt, phys | flags)


def edit(scene: Scene, virt: int, level: int, set_bits: int = 0, clear_bits: int = 0) -> None:
    scene.tables.edit(virt, level, set_bits, clear_bits)


def record_set(scene: Scene, phys: int, old: int, new: int) -> None:
    level = 4 if phys & ~0xFFF == b.ROOT else 1
    caller = b.LOADER + 0x7000
    scene.boot.sets.append(SetRecord(0, phys, level, phys % 4096 // 8, old, new, caller))


def change_map(scene: Scene, name: str, **changes: object) -> None:
    maps = scene.boot.maps
    number = next(i for i, record in enumerate(maps) if record.name == name)
    maps[number] = replace(maps[number], **changes)  # type: ignore[arg-type]


def wc_frame_buffer(scene: Scene) -> None:
    """As the reference loader maps it: the PAT's field 4 is write-combining, and selected."""
    scene.cpu(pat=PAT_WITH_WC)
    edit(scene, b.FRAMEBUFFER, 2, set_bits=1 << 12)
    change_map(scene, "framebuffer", type="wc")


def full_identity_map(scene: Scene) -> None:
    scene.map("identity map, above", "identity", 0x4000_0000, 0x4000_0000, 3 << 30, "rwx", 2)


def with_rights(scene: Scene, virt: int, rights: str, pages: int = 1) -> None:
    for page in range(pages):
        phys = scene.tables.get(scene.tables.slot(virt + page * b.PAGE, 1)) & 0x000F_FFFF_FFFF_F000
        poke(scene, virt + page * b.PAGE, phys | b.rights_bits(rights))


def stray_page(rights: str) -> Break:
    return lambda scene: poke(
        scene, b.INFO + b.PAGE, b.INFO_PHYS + b.PAGE | b.rights_bits(rights)
    )


def stray_large_page(scene: Scene) -> None:
    poke(scene, b.FRAMEBUFFER + (2 << 20), 0x9000_0000 | b.P | b.NX | b.PS, 2)


def each_text_page_one_on(scene: Scene) -> None:
    """The call itself asks for the wrong frame; only the segment knows better."""
    for page in range(3):
        point_to(scene, b.KERNEL + page * b.PAGE, b.KERNEL_PHYS + (page + 1) * b.PAGE)
    change_map(scene, "kernel.text", phys=b.KERNEL_PHYS + b.PAGE)


def initrd_over_boot_info(scene: Scene) -> None:
    scene.map("initrd", "initrd", b.INFO, 0x0500_0000, b.PAGE, "r--")


def read_only_over_the_stack(page: int) -> Break:
    virt, phys = b.STACK_GUARD + (page + 1) * b.PAGE, b.STACK_PHYS + page * b.PAGE
    return lambda scene: scene.map("log", "rodata", virt, phys, b.PAGE, "r--")


def rodata_takes_the_last_text_page(scene: Scene) -> None:
    """As by a mapper that rounds out: text gives its last page up, and rodata begins there."""
    last = b.KERNEL + 2 * b.PAGE
    change_map(scene, "kernel.text", last=last - 1)
    size = RODATA + b.PAGE - last
    for phys in range(0, size, b.PAGE):
        frame = b.KERNEL_PHYS + 2 * b.PAGE + phys
        poke(scene, last + phys, frame | b.rights_bits("r--"))
    change_map(scene, "kernel.rodata", virt=last, phys=b.KERNEL_PHYS + 2 * b.PAGE)


def rodata_ends_in_the_first_data_page(scene: Scene) -> None:
    """Two segments meet in one page, and both calls round out to it; rodata came last."""
    rodata, data = scene.boot.segments[1:]
    phys = b.KERNEL_PHYS + 0x20000
    scene.boot.segments[1] = replace(rodata, virt=DATA, last=DATA + 0x7F, phys=phys)
    scene.boot.segments[2] = replace(data, virt=DATA + 0x80, phys=phys + 0x80)
    scene.map("kernel.rodata", "rodata", DATA, phys, b.PAGE, "r--")


def stack_over_text(scene: Scene) -> None:
    for page in range(4):
        point_to(scene, b.STACK_GUARD + (page + 1) * b.PAGE, b.KERNEL_PHYS + page * b.PAGE)
    change_map(scene, "stack0", phys=b.KERNEL_PHYS)


def boot_info_over_a_table(scene: Scene) -> None:
    point_to(scene, b.INFO, b.ROOT + b.PAGE)
    change_map(scene, "boot-info", phys=b.ROOT + b.PAGE)


def kernel_loaded_over_the_loader(scene: Scene) -> None:
    scene.boot.images[0] = replace(scene.boot.images[0], size=0x30000)
    text = scene.boot.segments[0]
    scene.boot.segments[0] = replace(text, phys=b.LOADER + 0x2F000)
    for page in range(3):
        point_to(scene, b.KERNEL + page * b.PAGE, b.LOADER + 0x2F000 + page * b.PAGE)
    change_map(scene, "kernel.text", phys=b.LOADER + 0x2F000)


def two_stacks_in_one(scene: Scene) -> None:
    top = b.STACK_TOP + b.PAGE
    scene.map("stack1", "stack", top, b.STACK_PHYS + 3 * b.PAGE, 4 * b.PAGE, "rw-")


def cached_frame_buffer(scene: Scene) -> None:
    scene.cpu(pat=PAT_WITH_WC)


def pat_bit_in_a_pte(scene: Scene) -> None:
    wc_frame_buffer(scene)
    edit(scene, b.KERNEL, 1, set_bits=PAT_4K)


def uncached_alias(scene: Scene) -> None:
    scene.map("info again", "data", ALIAS, b.INFO_PHYS, b.PAGE, "rw-")
    edit(scene, ALIAS, 1, set_bits=PCD)
    change_map(scene, "info again", type="uc-")


def tables_in_device_memory(scene: Scene) -> None:
    scene.boot.memory_map = [
        MemoryDescriptor(0, b.ROOT - 1, 2, 0xF),
        MemoryDescriptor(b.ROOT, b.ROOT + 0xF_FFFF, 2, 0x1),
        MemoryDescriptor(b.ROOT + 0x10_0000, 0x0FFF_FFFF, 2, 0xF),
    ]


def slot_loses(set_bits: int, clear_bits: int) -> Break:
    def damage(scene: Scene) -> None:
        phys, asked = b.ROOT + 8 * 510, b.ROOT | b.P | b.W | b.NX
        record_set(scene, phys, 0, asked)
        scene.tables.put(phys, (asked | set_bits) & ~clear_bits)
        record_set(scene, phys, asked, scene.tables.get(phys))

    return damage


def slot_in_the_user_half(scene: Scene) -> None:
    scene.tables.put(b.ROOT + 8 * 510, 0)
    scene.tables.put(b.ROOT + 8 * 200, b.ROOT | b.P | b.W | b.NX)
    window = window_of(200, 4)[0]
    scene.boot.regions[1] = replace(scene.boot.regions[1], virt=window, last=window + 0xFFF)


def slot_over_a_range(scene: Scene) -> None:
    """The range was mapped first; then its slot was taken for the window."""
    change_map(scene, "boot-info", virt=b.RECURSIVE + 0x1000, last=b.RECURSIVE + 0x1FFF)
    scene.unmap(b.INFO)
    scene.boot.plan = scene.boot.plan[:3]
