"""A CPU that stands: its registers as plain data, and the memory that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace

from cr3scope.dataclass import dataclass
from cr3scope.paging.tables import Entries
from cr3scope.paging.walk import walk
from cr3scope.target import memory as memories
from cr3scope.target.memory import Memory
from cr3scope.x86.cpu_state import CR0_PE, EFER_LMA, RFLAGS_IF, CpuState
from cr3scope.x86.cpu_mode import CpuMode, cpu_mode
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, descriptor_offset, in_local_table
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import Segment
from cr3scope.x86.word import MASK64

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")  # fmt: skip
BASES = ("FS_BASE", "GS_BASE")
PHYS_BITS = 40  # MAXPHYADDR of QEMU's own default
_WIDENED = {f"E{name}": f"R{name}" for name in ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP")}
_WIDENED["EFL"] = "RFL"

Range = tuple[int, int]  # first and last physical address, inclusive


def no_ram() -> Iterable[Range]:
    """Return no range: nobody tells where the machine has RAM."""
    return ()


@dataclass(frozen=True, slots=True)
class Table:
    """IDTR or GDTR. ``limit`` is the last byte's offset."""

    base: int
    limit: int

    def has(self, virt: int) -> bool:
        """Return whether the address lies in the table."""
        return 0 <= virt - self.base <= self.limit


@dataclass(frozen=True, slots=True)
class StoppedCpu:
    """One CPU that stands. What reads memory raises MemoryUnavailable if nobody answers any more.

    ``registers`` by QEMU's names in capitals, ``phys_bits`` is MAXPHYADDR, ``number`` QEMU's of the CPU,
    ``code_bits`` 64, 32 or 16, ``segments`` what the CPU keeps of each descriptor, by QEMU's names; it is flat
    where they are not known. ``ram_ranges`` tells where the machine has RAM; no range if nobody knows.
    ``absent`` collects the physical addresses that a judgement wanted and the memory does not hold. ``is_recorded``:
    the memory is what somebody saved of the machine.
    """

    memory: Memory
    registers: Mapping[str, int]
    phys_bits: int = PHYS_BITS
    selectors: Mapping[str, int] = field(default_factory=dict)
    idt: Table | None = None
    gdt: Table | None = None
    number: int = 0
    code_bits: int = 64
    platform: Platform = Platform.TCG
    ram_ranges: Callable[[], Iterable[Range]] = no_ram
    absent: set[int] = field(default_factory=set)
    is_recorded: bool = False
    segments: Mapping[str, Segment] = field(default_factory=dict)

    @property
    def rip(self) -> int:
        return self.registers.get("RIP", 0)

    @property
    def rsp(self) -> int:
        return self.registers.get("RSP", 0)

    @property
    def interrupts_on(self) -> bool:
        return bool(self.registers.get("RFL", 0) & RFLAGS_IF)

    @property
    def halted(self) -> bool:
        return bool(self.registers.get("HLT"))

    @property
    def in_long_mode(self) -> bool:
        return bool(self.registers.get("EFER", 0) & EFER_LMA)

    @property
    def mode(self) -> CpuMode:
        """Return real, protected or long mode; 64-bit code is in long mode, whatever else is known."""
        if self.code_bits == 64:
            return CpuMode.LONG
        return cpu_mode(self.registers.get("CR0", CR0_PE), self.registers.get("EFER", 0))

    @property
    def pc(self) -> int:
        """Return the linear address of the instruction at RIP."""
        return self.delivery_registers.pc

    @property
    def stack(self) -> int:
        """Return the linear address that RSP means."""
        return self.delivery_registers.stack

    @property
    def cpu(self) -> CpuState:
        """Return what decides how addresses are translated."""
        get = self.registers.get
        return CpuState(
            cr3=get("CR3", 0), cr0=get("CR0", 0), cr4=get("CR4", 0), efer=get("EFER", 0),
            max_phys_bits=self.phys_bits, rflags=get("RFL", 2),
        )  # fmt: skip

    @property
    def general(self) -> Mapping[str, int]:
        """Return the general registers by lower-case name, and the bases of FS and GS as far as they are known."""
        bases = {name.lower(): self.registers[name] for name in BASES if name in self.registers}
        if self.code_bits != 64:
            bases |= {f"{name.lower()}_base": one.base for name, one in self.segments.items()}
        return {name: self.registers.get(name.upper(), 0) for name in GENERAL} | bases

    @property
    def delivery_registers(self) -> Registers:
        """Return what an exception reads."""
        idt, gdt = self.idt, self.gdt
        return Registers(
            self.rip, self.rsp, self.selectors.get("CS", 0), self.selectors.get("TR", 0),
            gdt.base if gdt else 0, gdt.limit if gdt else 0,
            idt.base if idt else 0, idt.limit if idt else 0, self.registers.get("RFL", 0), self.mode,
            {name.lower(): one for name, one in self.segments.items()},
        )  # fmt: skip

    def under(self, cr3: int) -> StoppedCpu:
        """Return the same CPU as it will see memory once CR3 is ``cr3``."""
        return replace(self, registers={**self.registers, "CR3": cr3})

    def with_state(self, cpu: CpuState) -> StoppedCpu:
        """Return the same CPU as it will see memory once its control registers are those of ``cpu``."""
        told = {"CR0": cpu.cr0, "CR3": cpu.cr3, "CR4": cpu.cr4, "EFER": cpu.efer}
        return replace(self, registers={**self.registers, **told})

    def table(self, phys: int) -> Entries | None:
        """Return the 512 entries of a table page; None where there is none."""
        found = self.memory.table(phys)
        if found is None:
            self._lacks(phys)
        return found

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many of the bytes as can be read. Whoever looks around may find nothing."""
        return self.memory.physical(phys, length)

    def read(self, phys: int, count: int) -> bytes | None:
        """Return exactly ``count`` bytes of physical memory, or None."""
        data = self.memory.physical(phys, count)
        if len(data) == count:
            return data
        self._lacks(phys + len(data))
        return None

    def bytes_at(self, virt: int, length: int) -> bytes:
        """Return memory by the live tables, as far as they map it and there is memory."""
        data, cpu = b"", self.cpu
        while len(data) < length:
            at = virt + len(data) & MASK64
            phys = walk(self, cpu, at).phys
            if phys is None:
                break
            wanted = min(length - len(data), PAGE_BYTES - at % PAGE_BYTES)
            piece = self.memory.physical(phys, wanted)
            data += piece
            if len(piece) < wanted:
                self._lacks(phys + len(piece))
                break
        return data

    def data_at(self, virt: int, length: int) -> bytes:
        """Return memory by the live tables as ``bytes_at`` does; nothing of what is known to lie in no RAM: a device may tell
        the CPU something else, and reading it may change it."""
        ranges, end = tuple(self.ram_ranges()), virt + length
        pieces = (virt, *range((virt | PAGE_BYTES - 1) + 1, end, PAGE_BYTES)) if ranges else ()
        for at in pieces:
            phys = walk(self, self.cpu, at & MASK64).phys
            if phys is not None and not any(first <= phys <= last for first, last in ranges):
                return b""
        return self.bytes_at(virt, length)

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield the first bytes at each of many physical addresses."""
        return memories.heads(self.memory, places, length)

    def ram(self) -> Iterable[Range]:
        """Return each range of RAM; none if nobody tells."""
        return self.ram_ranges()

    def gate(self, vector: int) -> tuple[int, int] | None:
        """Return (address, its bytes as a number) of a gate of the IDT, as long as the mode has them; None if it
        cannot be read."""
        size = self.mode.gate_bytes
        if self.idt is None or size * (vector + 1) > self.idt.limit + 1:
            return None
        at = self.idt.base + size * vector
        data = self.bytes_at(at, size)
        return (at, int.from_bytes(data, "little")) if len(data) == size else None

    def descriptor(self, selector: int) -> int | None:
        """Return a descriptor of the GDT, or of the LDT if the selector says so; None if it lies outside or cannot be
        read."""
        table = self.descriptor_table(selector)
        if table is None or (selector | 7) > table.limit:
            return None
        data = self.bytes_at(table.base + descriptor_offset(selector), DESCRIPTOR_BYTES)
        return int.from_bytes(data, "little") if len(data) == DESCRIPTOR_BYTES else None

    def descriptor_table(self, selector: int) -> Table | None:
        """Return the GDT, or the LDT if the selector says so (SDM 3A, 3.4.2); None if it is not known."""
        if not in_local_table(selector):
            return self.gdt
        local = self.segments.get("LDT")
        return Table(local.base, local.limit) if local is not None else None

    def _lacks(self, phys: int) -> None:
        """Note what the memory does not hold, unless it is told that the machine has none there."""
        ranges = tuple(self.ram_ranges())
        if not ranges or any(first <= phys <= last for first, last in ranges):
            self.absent.add(phys)


def widened(registers: Mapping[str, int]) -> dict[str, int]:
    """Return the 64-bit registers by their names: in compatibility mode QEMU prints EAX to EIP."""
    return {_WIDENED.get(name, name): value for name, value in registers.items()}
