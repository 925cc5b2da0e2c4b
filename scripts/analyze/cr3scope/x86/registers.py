"""The registers that an exception reads and changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from cr3scope.dataclass import dataclass
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import USER
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.segment import Segment

RFLAGS_TRAP, RFLAGS_DIRECTION = 1 << 8, 1 << 10
RFLAGS_NESTED_TASK, RFLAGS_VIRTUAL_8086 = 1 << 14, 1 << 17
RFLAGS_IOPL = 3 << 12


@dataclass(frozen=True, slots=True)
class Registers:
    """What of the CPU's registers an exception reads and changes."""

    rip: int
    rsp: int
    cs: int
    tr: int
    gdt_base: int
    gdt_limit: int
    idt_base: int
    idt_limit: int
    rflags: int = 0
    mode: CpuMode = CpuMode.LONG
    segments: Mapping[str, Segment] = field(default_factory=dict)  # by lower-case name, tr and ldt among them

    @property
    def does_io(self) -> bool:
        """Return whether the CPL is within IOPL: the code may change IF, and use each port (SDM volume 1, 20.5.1)."""
        return self.cpl << 12 <= self.rflags & RFLAGS_IOPL

    @property
    def cpl(self) -> int:
        """Return the privilege level: in real mode there is none but 0, and virtual-8086 mode is at 3 (SDM 3A, 22.2)."""
        if self.mode is CpuMode.REAL:
            return 0
        return USER if self.is_virtual_8086 else self.cs & RPL

    @property
    def is_virtual_8086(self) -> bool:
        """Return whether it is virtual-8086 mode, which long mode does not have."""
        return self.mode is CpuMode.PROTECTED and bool(self.rflags & RFLAGS_VIRTUAL_8086)

    @property
    def has_real_segments(self) -> bool:
        """Return whether a selector is no more than its base by 16: in real and virtual-8086 mode (SDM 3A, 22.1.1, 22.2.2)."""
        return self.mode is CpuMode.REAL or self.is_virtual_8086

    @property
    def pc(self) -> int:
        """Return the linear address of the instruction (SDM 3A, 3.4: the base of CS counts outside 64-bit mode)."""
        return self.linear("cs", self.rip)

    @property
    def stack(self) -> int:
        """Return the linear address of the stack's top."""
        return self.linear("ss", self.rsp)

    def linear(self, segment: str, offset: int) -> int:
        """Return the linear address of an offset in DS, ES, SS or CS; of a segment that is not known the offset."""
        found = self.segments.get(segment)
        code = self.segments.get("cs")
        in_64_bit = self.mode is CpuMode.LONG and (code is None or code.code_bits == 64)
        return offset if found is None or in_64_bit else found.linear(offset)

    @classmethod
    def of(cls, told: Mapping[str, int]) -> Registers:
        """Return the registers by these names, 0 for those that are not among them."""
        get = told.get
        return cls(
            get("rip", 0), get("rsp", 0), get("cs", 0), get("tr", 0), get("gdt_base", 0), get("gdt_limit", 0),
            get("idt_base", 0), get("idt_limit", 0), get("rflags", 0),
        )  # fmt: skip
