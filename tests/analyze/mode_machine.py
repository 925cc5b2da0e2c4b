"""A paused machine in any mode with paging, healthy until a test puts a mistake into its tables or registers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cr3scope.paging.tables import Entries
from cr3scope.paging.walk import PageFault, access
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import Descriptor
from cr3scope.x86.entry import EntryFormat, formats_of
from cr3scope.x86.mode import LONG, Mode
from cr3scope.x86.platform import Platform

P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63
PAGE, SIZE, WINDOW = 0x1000, 1 << 23, 1 << 21  # of a page, of the memory, and of what the high half maps of it
ROOT, IDT, GDT, CODE, HANDLER, DATA, STACK, LOADER = 0x1000, 0x100000, 0x101000, 0x103000, 0x104000, 0x105000, 0x107000, 0x109000
PDPTE = P  # of PAE paging: it has no rights
CODE_64, CODE_32, STACK_32 = 0x00AF9B00_0000FFFF, 0x00CF9B00_0000FFFF, 0x00CF9300_0000FFFF
_STATES = {  # CR4, EFER
    Mode.BITS_32: (0x10, 0), Mode.PAE: (0x20, 0x800), Mode.LEVELS_4: (0x20, 0xD00), Mode.LEVELS_5: (0x1020, 0xD00),
}  # fmt: skip


@dataclass
class Machine:
    """``memory`` maps its first 2 MiB by small pages at ``high``, where its kernel lives; below it nothing is mapped.

    Pages of code may be executed and not written, all others the other way round, as far as the mode has NX.
    """

    mode: Mode
    memory: bytearray = field(default_factory=lambda: bytearray(SIZE))
    registers: dict[str, int] = field(default_factory=dict)
    idt_limit: int = 0
    tr: int = 0
    platform: Platform = Platform.HARDWARE

    def __post_init__(self) -> None:
        cr4, efer = _STATES[self.mode]
        self.high = 0xFFFF_FFFF_8000_0000 if self.is_long else 0xC000_0000
        self.registers = {
            "CR0": 0x8001_0011, "CR3": ROOT, "CR4": cr4, "EFER": efer, "RIP": self.high + CODE, "RSP": self.high + STACK + 0x800, "RFL": 2,
        }  # fmt: skip
        self._next = ROOT
        self._formats = formats_of(self.cpu)
        self._new_table()
        for phys in range(0, WINDOW, PAGE):
            self.map(self.high + phys, phys, P if phys in (CODE, HANDLER) else P | W | self.nx)
        size = 16 if self.is_long else 8
        self.idt_limit = size * 32 - 1
        for vector in range(32):
            self.gate(vector)
        self.store(GDT + 8, CODE_64 if self.is_long else CODE_32, 8)
        self.store(GDT + 16, STACK_32, 8)

    @property
    def is_long(self) -> bool:
        return self.mode in LONG

    @property
    def nx(self) -> int:
        return 0 if self.mode is Mode.BITS_32 else NX

    @property
    def cpu(self) -> CpuState:
        return self.stopped().cpu

    def stopped(self) -> StoppedCpu:
        code = CODE_64 if self.is_long else CODE_32
        return StoppedCpu(
            self, dict(self.registers), 40, {"CS": 8, "SS": 16, "TR": self.tr}, Table(self.high + IDT, self.idt_limit),
            Table(self.high + GDT, 0x2F), code_bits=64 if self.is_long else 32, platform=self.platform,
            ram_ranges=lambda: ((0, SIZE - 1),),
            segments={"CS": Descriptor(code).segment(8), "SS": Descriptor(STACK_32).segment(16)},
        )  # fmt: skip

    def table(self, phys: int) -> Entries | None:
        return np.frombuffer(self.physical(phys, PAGE), "<u8") if 0 <= phys <= SIZE - PAGE else None

    def physical(self, phys: int, length: int) -> bytes:
        return bytes(self.memory[phys : phys + length])

    def store(self, phys: int, value: int, width: int) -> None:
        self.memory[phys : phys + width] = value.to_bytes(width, "little")

    def gate(self, vector: int, kind: int = 0x8E, ist: int = 1) -> None:
        """An interrupt gate to the handler's page, each vector to its own 16 bytes of it."""
        offset = self.high + HANDLER + 16 * vector
        value = offset & 0xFFFF | 8 << 16 | kind << 40 | (offset >> 16 & 0xFFFF) << 48
        if self.is_long:
            self.store(IDT + 16 * vector, value | ist << 32 | offset >> 32 << 64, 16)
        else:
            self.store(IDT + 8 * vector, value, 8)

    def map(self, virt: int, phys: int, flags: int) -> None:
        """Map a small page. Upper entries allow all: the leaf decides."""
        self.put(virt, 1, phys | flags)

    def form(self, level: int) -> EntryFormat:
        return next(one for one in self._formats if one.level == level)

    def slot(self, virt: int, level: int) -> int:
        """The physical address of the entry of a level; tables above it that are missing are made."""
        table = ROOT
        for form in self._formats:
            at = table + form.index(virt) * form.entry_bytes
            if form.level == level:
                return at
            value = self._load(at, form)
            if not value:
                value = self._new_table() | (P | W | U if form.has_rights else PDPTE)
                self.store(at, value, form.entry_bytes)
            table = form.frame(value)
        raise AssertionError(level)

    def get(self, virt: int, level: int) -> int:
        return self._load(self.slot(virt, level), self.form(level))

    def put(self, virt: int, level: int, value: int) -> None:
        self.store(self.slot(virt, level), value, self.form(level).entry_bytes)

    def edit(self, virt: int, level: int, set_bits: int = 0, clear_bits: int = 0) -> None:
        self.put(virt, level, self.get(virt, level) & ~clear_bits | set_bits)

    def fault(self, kind: AccessKind, virt: int) -> Fault | None:
        """The exception that the access raises here; None if the tables let it through."""
        refused = access(self.stopped(), self.cpu, virt, kind, platform=self.platform)
        if not isinstance(refused, PageFault):
            return None
        rip = virt if kind is AccessKind.FETCH else self.registers["RIP"]
        return Fault(refused.vector, refused.error_code, refused.cr2, rip, rsp=self.registers["RSP"], is_fetch=kind is AccessKind.FETCH)

    def _load(self, phys: int, form: EntryFormat) -> int:
        return int.from_bytes(self.memory[phys : phys + form.entry_bytes], "little")

    def _new_table(self) -> int:
        self._next += PAGE
        return self._next - PAGE
