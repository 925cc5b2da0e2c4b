"""A whole boot as the reader would hand it over: real page tables, made by hand, and their records.

``healthy()`` survives. A test then breaks one thing, by name, and looks at what is said of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cr3scope.input.capture.records import (
    Boot,
    Capture,
    CpuRecord,
    Dump,
    ElfRecord,
    ImageRecord,
    MapRecord,
    MemoryContents,
    MemoryDescriptor,
    PlanStep,
    RegionRecord,
    SegmentRecord,
    TableRecord,
)
from cr3scope.x86.access import AccessKind

P, W, U, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
PAGE = 4096

ROOT = 0x0100_0000
LOADER = 0x0E20_0000
HANDOFF = LOADER + 0x1040
HANDLERS = LOADER + 0x2000
GDT, IDT, TSS = LOADER + 0x9000, LOADER + 0xA000, LOADER + 0xB000
IST_TOP = LOADER + 0x10000
KERNEL = 0xFFFF_FFFF_8000_0000
ENTRY = KERNEL + 0x10
KERNEL_PHYS = 0x0200_0000
INFO, INFO_PHYS = 0xFFFF_FC00_0000_0000, 0x0300_0000
FRAMEBUFFER, FRAMEBUFFER_PHYS = 0xFFFF_FD00_0000_0000, 0x8000_0000
STACK_GUARD, STACK_PHYS = 0xFFFF_FE00_0000_0000, 0x0301_0000
STACK_TOP = STACK_GUARD + 5 * PAGE
RECURSIVE = 0xFFFF_FF00_0000_0000
CODE_SELECTOR, TSS_SELECTOR = 0x08, 0x18


def rights_bits(rights: str) -> int:
    return P | (W if "w" in rights else 0) | (0 if "x" in rights else NX)


class Tables:
    """Page tables under construction."""

    def __init__(self, levels: int = 4) -> None:
        self.levels = levels
        self.pages: dict[int, npt.NDArray[np.uint64]] = {ROOT: np.zeros(512, np.uint64)}
        self.records: list[TableRecord] = [TableRecord(0, ROOT, levels, 0, LOADER + 0x1100)]

    def slot(self, virt: int, level: int) -> int:
        """Physical address of the entry of a level on the path of ``virt``; tables are made."""
        table = ROOT
        for current in range(self.levels, level, -1):
            phys = table + 8 * (virt >> (12 + 9 * (current - 1)) & 511)
            if not self.get(phys) & P:
                new = ROOT + PAGE * len(self.pages)
                self.pages[new] = np.zeros(512, np.uint64)
                self.records.append(TableRecord(0, new, current - 1, phys, LOADER + 0x1100))
                self.put(phys, new | P | W)
            table = self.get(phys) & 0x000F_FFFF_FFFF_F000
        return table + 8 * (virt >> (12 + 9 * (level - 1)) & 511)

    def get(self, phys: int) -> int:
        return int(self.pages[phys & ~0xFFF][phys % PAGE // 8])

    def put(self, phys: int, value: int) -> None:
        self.pages[phys & ~0xFFF][phys % PAGE // 8] = np.uint64(value)

    def map(self, virt: int, phys: int, size: int, rights: str, level: int = 1) -> None:
        step = 1 << (12 + 9 * (level - 1))
        for offset in range(0, size, step):
            leaf = phys + offset | rights_bits(rights) | (PS if level > 1 else 0)
            self.put(self.slot(virt + offset, level), leaf)

    def edit(self, virt: int, level: int, set_bits: int = 0, clear_bits: int = 0) -> int:
        """Changes one entry; returns its physical address."""
        phys = self.slot(virt, level)
        self.put(phys, (self.get(phys) | set_bits) & ~clear_bits)
        return phys


class Scene:
    """A boot and its tables; ``capture()`` freezes both."""

    def __init__(self, levels: int = 4) -> None:
        self.tables = Tables(levels)
        self.boot = Boot(complete=True, closed=["loader", "kernel"])
        self._caller = LOADER + 0x3000

    def map(
        self, name: str, role: str, virt: int, phys: int, size: int, rights: str, level: int = 1
    ) -> None:
        self.tables.map(virt, phys, size, rights, level)
        self._caller += 0x10
        page = 1 << (12 + 9 * (level - 1))
        last = virt + size - 1
        record = MapRecord(0, name, role, virt, last, phys, rights, page, "wb", self._caller)
        self.boot.maps.append(record)

    def unmap(self, virt: int, size: int = PAGE) -> None:
        """What a loader that forgot this range leaves behind."""
        for offset in range(0, size, PAGE):
            self.tables.put(self.tables.slot(virt + offset, 1), 0)

    def forget(self, name: str) -> None:
        """Removes a range with its record: the loader never asked for it."""
        record = next(record for record in self.boot.maps if record.name == name)
        self.boot.maps.remove(record)
        self.unmap(record.virt, record.last - record.virt + 1)

    def cpu(self, when: str = "handoff", **registers: int) -> None:
        """Changes registers of a ``cpu`` record."""
        old = self.boot.cpus[when]
        self.boot.cpus[when] = replace(old, registers=old.registers | registers)

    def capture(self) -> Capture:
        boot = self.boot
        boot.dumps["new"] = Dump(
            0, "new", ROOT, self.tables.levels, self.tables.pages, frozenset()
        )
        boot.tables = self.tables.records
        return Capture(boots=[boot])


def gate(offset: int, selector: int = CODE_SELECTOR, ist: int = 1, kind: int = 0x8E) -> bytes:
    low = offset & 0xFFFF | selector << 16 | ist << 32 | kind << 40 | (offset >> 16 & 0xFFFF) << 48
    return low.to_bytes(8, "little") + (offset >> 32).to_bytes(8, "little")


def idt(ist: int = 1, handlers: int = HANDLERS, selector: int = CODE_SELECTOR) -> bytes:
    return b"".join(gate(handlers + 16 * v, selector, ist) for v in range(256))


def gdt() -> bytes:
    code, data = 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF
    code_32 = 0x00CF_9B00_0000_FFFF
    tss = 0x0067 | (TSS & 0xFFFFFF) << 16 | 0x8B << 40 | (TSS >> 24 & 0xFF) << 56
    words = (0, code, data, tss, TSS >> 32, code_32)
    return b"".join(word.to_bytes(8, "little") for word in words)


def tss() -> bytes:
    data = bytearray(104)
    data[0x24:0x2C] = IST_TOP.to_bytes(8, "little")
    return bytes(data)


def cpu_record(when: str, **registers: int) -> CpuRecord:
    base = {
        "cr0": 0x8001_0033, "cr2": 0, "cr3": ROOT, "cr4": 0x668, "cr8": 0, "efer": 0xD00,
        "pat": 0x0007_0406_0007_0406, "gdt_base": GDT, "gdt_limit": len(gdt()) - 1,
        "idt_base": IDT, "idt_limit": 0xFFF, "tr": TSS_SELECTOR, "ldtr": 0, "cs": CODE_SELECTOR,
        "ss": 0x10, "rsp": STACK_TOP, "rip": HANDOFF, "rflags": 2,
    }  # fmt: skip
    features = frozenset({"nx", "1g", "pge", "pat"})
    return CpuRecord(0, when, base | registers, 40, "GenuineIntel", features)


def healthy(levels: int = 4) -> Scene:
    """The reference boot in small: everything mapped as it should be."""
    scene = Scene(levels)
    boot = scene.boot
    cr4 = 0x668 | (1 << 12 if levels == 5 else 0)
    boot.cpus["handoff"] = cpu_record("handoff", cr4=cr4)
    boot.cpus["entry"] = cpu_record("entry", cr4=cr4, cr3=0x0080_0000, idt_base=0x0FE0_0018)
    boot.images.append(ImageRecord(0, "loader", LOADER, 0x20000, None, 0x1000, 0x8000, None))
    boot.elfs.append(ElfRecord(0, "kernel.elf", ENTRY, 0x5000, 62, None))
    boot.memory_map.append(MemoryDescriptor(0, 0x0FFF_FFFF, 2, 0xF))

    scene.map("loader.text", "trampoline", LOADER + 0x1000, LOADER + 0x1000, 0x8000, "r-x")
    scene.map("loader.data", "loader", LOADER + 0x9000, LOADER + 0x9000, 0x10000, "rw-")
    for index, (name, role, pages, rights) in enumerate(
        (("text", "text", 3, "r-x"), ("rodata", "rodata", 1, "r--"), ("data", "data", 2, "rw-"))
    ):
        virt, phys = KERNEL + index * 0x10000, KERNEL_PHYS + index * 0x10000
        scene.map(f"kernel.{name}", role, virt, phys, pages * PAGE, rights)
        size = pages * PAGE - 0x100
        boot.segments.append(
            SegmentRecord(
                0, "kernel.elf", index, virt, virt + size - 1, phys, size, size, 0x1000, rights
            )
        )
    scene.map("stack0", "stack", STACK_GUARD + PAGE, STACK_PHYS, 4 * PAGE, "rw-")
    boot.regions.append(
        RegionRecord(0, "stack0.guard", "guard", STACK_GUARD, STACK_GUARD + PAGE - 1, None)
    )
    scene.map("boot-info", "boot-info", INFO, INFO_PHYS, PAGE, "rw-")
    scene.map("framebuffer", "framebuffer", FRAMEBUFFER, FRAMEBUFFER_PHYS, 2 << 20, "rw-", 2)
    window = RECURSIVE if levels == 4 else 0xFFFE_0000_0000_0000
    scene.tables.put(ROOT + 8 * 510, ROOT | P | W | NX)
    boot.regions.append(RegionRecord(0, "recursive", "recursive", window, window + 0xFFF, ROOT))

    for name, virt, data in (("gdt", GDT, gdt()), ("idt", IDT, idt()), ("tss", TSS, tss())):
        boot.memories[name, "handoff"] = MemoryContents(0, name, "handoff", virt, data)
        last = virt + len(data) - 1
        boot.regions.append(RegionRecord(0, name, name, virt, last, virt))
    boot.plan = [
        PlanStep(0, 0, "fetch after mov cr3", AccessKind.FETCH, HANDOFF, 3, HANDOFF),
        PlanStep(0, 1, "push of the return address", AccessKind.WRITE, STACK_TOP - 8, 8, HANDOFF),
        PlanStep(0, 2, "fetch at kernel entry", AccessKind.FETCH, ENTRY, 4, ENTRY),
        PlanStep(0, 3, "read of the boot info", AccessKind.READ, INFO, 8, ENTRY + 4),
        PlanStep(0, 4, "first pixel", AccessKind.WRITE, FRAMEBUFFER, 4, ENTRY + 8),
    ]
    return scene
