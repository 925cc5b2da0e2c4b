"""Damage to a boot's tables and control registers, for the rules that find it."""

from __future__ import annotations

from dataclasses import replace

import boot_builder as b
import numpy as np
from boot_builder import Scene

from cr3scope.input.capture.records import ImageRecord, RegionRecord

NXE, PCIDE, SMEP, SMAP, LA57 = 1 << 11, 1 << 17, 1 << 20, 1 << 21, 1 << 12
GARBAGE = 0x5A5A_5A5A_5A5A_5A5B
FREE = b.KERNEL + (64 << 20)  # nobody asked for it; under the kernel's page directory
TABLES_VIRT = 0xFFFF_FC00_0100_0000


def cr3(scene: Scene, flags: int) -> None:
    scene.cpu(cr3=b.ROOT | flags)


def cr4(scene: Scene, flags: int) -> None:
    scene.cpu(cr4=0x668 | flags)


def cpuid(scene: Scene, vendor: str = "GenuineIntel", without: str = "") -> None:
    record = scene.boot.cpus["handoff"]
    features = record.features - {without}
    scene.boot.cpus["handoff"] = replace(record, vendor=vendor, features=features)


def user(scene: Scene, virt: int, levels: tuple[int, ...] = (4, 3, 2, 1)) -> None:
    for level in levels:
        scene.tables.edit(virt, level, set_bits=b.U)


def without_nxe(scene: Scene) -> None:
    scene.cpu(efer=0x500)


def without_nx(scene: Scene) -> None:
    for page in scene.tables.pages.values():
        page &= np.uint64(b.NX - 1)


def virtual_address(scene: Scene, virt: int = b.ENTRY, level: int = 2) -> int:
    """The pool of tables is mapped at TABLES_VIRT, and an entry holds an address of the mapping."""
    scene.boot.regions.append(
        RegionRecord(0, "page tables", "tables", TABLES_VIRT, TABLES_VIRT + 0xFFFFF, b.ROOT)
    )
    phys = scene.tables.slot(virt, level)
    value = scene.tables.get(phys)
    table = value & 0x000F_FFFF_FFFF_F000
    scene.tables.put(phys, (TABLES_VIRT + table - b.ROOT) | value & 0xFFF)
    return table


def gigabyte_pages(scene: Scene) -> None:
    scene.map("low memory", "identity", 4 << 30, 4 << 30, 2 << 30, "rw-", level=3)


def garbage(scene: Scene, value: int = GARBAGE, count: int = 8) -> None:
    for index in range(count):
        scene.tables.put(scene.tables.slot(FREE, 2) + 8 * index, value)


def table_one_level_too_high(scene: Scene) -> None:
    table = scene.tables.get(scene.tables.slot(b.ENTRY, 2)) & 0x000F_FFFF_FFFF_F000
    scene.tables.put(scene.tables.slot(b.ENTRY, 3), table | b.P | b.W)


def table_below_two_entries(scene: Scene) -> None:
    table = scene.tables.get(scene.tables.slot(b.INFO, 3))
    scene.tables.put(scene.tables.slot(b.INFO, 3) + 8, table)


def other_depth(scene: Scene) -> None:
    scene.cpu(cr4=0x668 | (0 if scene.tables.levels == 5 else LA57))


def pcide_too_early(scene: Scene) -> None:
    cr4(scene, PCIDE)
    scene.cpu("entry", cr3=0x0080_0018)


def loader_at(scene: Scene, base: int) -> None:
    """The loader, the handoff with it, moves to where nothing is mapped."""
    scene.boot.images[0] = ImageRecord(0, "loader", base, 0x20000, None, 0x1000, 0x8000, None)
    rip = base + 0x1040
    scene.cpu(rip=rip)
    scene.boot.plan[0] = replace(scene.boot.plan[0], virt=rip, rip=rip)
    scene.boot.plan[1] = replace(scene.boot.plan[1], rip=rip)


def user_range_under_supervisor(scene: Scene) -> None:
    record = scene.boot.maps[-2]
    assert record.name == "boot-info"
    scene.boot.maps[-2] = replace(record, rights="rw-u")
    user(scene, b.INFO, (4, 3, 1))
