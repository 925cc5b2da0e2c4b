"""A CPU that stands, in long mode, and the memory around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from cr3scope.machine.snapshot import Snapshot
from cr3scope.paging.platform import Platform
from cr3scope.predict.delivery import Registers

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")  # fmt: skip
BASES = ("FS_BASE", "GS_BASE")
_WIDENED = {f"E{name}": f"R{name}" for name in ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP")}
_WIDENED["EFL"] = "RFL"


@dataclass(slots=True)
class StoppedCpu(Snapshot):
    """A Snapshot that knows on what it runs. How memory is read is its subclasses'."""

    platform: Platform = Platform.TCG

    def read(self, phys: int, count: int) -> bytes | None:
        """Exactly ``count`` bytes or None, as the exception model asks."""
        data = self.physical(phys, count)
        return data if len(data) == count else None

    def under(self, cr3: int) -> Self:
        """The same memory as it will be seen once CR3 is ``cr3``."""
        return replace(self, registers={**self.registers, "CR3": cr3})

    @property
    def rsp(self) -> int:
        return self.registers.get("RSP", 0)

    @property
    def general(self) -> Mapping[str, int]:
        """The general registers by lower-case name, and the bases of FS and GS as far as they are known."""
        bases = {name.lower(): self.registers[name] for name in BASES if name in self.registers}
        return {name: self.registers.get(name.upper(), 0) for name in GENERAL} | bases

    @property
    def delivery_registers(self) -> Registers:
        """What an exception reads."""
        idt, gdt = self.idt, self.gdt
        return Registers(
            self.rip, self.rsp, self.selectors.get("CS", 0), self.selectors.get("TR", 0),
            gdt.base if gdt else 0, gdt.limit if gdt else 0,
            idt.base if idt else 0, idt.limit if idt else 0, self.registers.get("RFL", 0),
        )  # fmt: skip


def widened(registers: Mapping[str, int]) -> dict[str, int]:
    """In compatibility mode QEMU prints EAX to EIP: the 64-bit registers' names for them."""
    return {_WIDENED.get(name, name): value for name, value in registers.items()}
