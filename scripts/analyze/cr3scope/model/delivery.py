"""One attempt to deliver an exception, in long mode at CPL 0 (Intel SDM volume 3A, 7.14) or in an older one.

Gate, code segment, stack, pushes: each is an access through the tables that are live, and each can
raise the next exception.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cr3scope.message import Hex, Message, message
from cr3scope.model import protected_delivery, real_delivery
from cr3scope.model.delivered import Entered, Raised, Unknown
from cr3scope.model.strike import Target
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, Translation, access
from cr3scope.target.contents import PhysicalBytes
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import (
    DESCRIPTOR_BYTES,
    GATE_BYTES,
    Descriptor,
    Gate,
    ist_offset,
    tss_base,
)
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MASK64, QWORD


@dataclass(frozen=True, slots=True)
class Delivery:
    """The tables, the paging state and the memory that an exception meets."""

    tables: Tables
    cpu: CpuState
    memory: PhysicalBytes
    platform: Platform

    def deliver(
        self, vector: int, registers: Registers, software: bool = False
    ) -> Entered | Raised | Unknown:
        """Try to enter the handler of ``vector``, and return how that ends.

        ``software``: raised by an INT instruction, which pushes no error code and leaves EXT clear in that of
        an exception on the way (SDM 3A, 7.4.2, 7.13).
        """
        if registers.mode is CpuMode.REAL:
            return real_delivery.deliver(self, vector, registers)
        external = 0 if software or self.platform.has(Quirk.NEVER_EXTERNAL) else exceptions.EXTERNAL
        if registers.mode is CpuMode.PROTECTED:
            return protected_delivery.deliver(self, vector, registers, software, external)
        gate = self._gate(vector, registers, external)
        if not isinstance(gate, Gate):
            return gate
        refused = self._check_segment(gate.selector, registers, external)
        if refused is not None:
            return refused
        top = self._stack_top(gate.ist, registers)
        if not isinstance(top, int):
            return top
        has_error_code = vector in exceptions.WITH_ERROR_CODE and not software
        return self._push(6 if has_error_code else 5, gate, top)

    def fetch(self, virt: int) -> PageFault | None:
        """Return the fault of fetching the first byte at ``virt``; None if it goes through."""
        found = self.reach(virt, AccessKind.FETCH, 1)
        return found if isinstance(found, PageFault) else None

    def _gate(
        self, vector: int, registers: Registers, external: int
    ) -> Gate | Raised | Unknown:
        index = vector << (4 if self.platform.has(Quirk.GATE_TIMES_16) else 3) | exceptions.IN_IDT | external
        if GATE_BYTES * vector + GATE_BYTES - 1 > registers.idt_limit:
            limit = Hex(registers.idt_limit)
            words = message("gate {gate}, beyond the IDT's limit {limit},", gate=vector, limit=limit)
            return Raised(exceptions.PROTECTION, index, None, words)
        virt = registers.idt_base + GATE_BYTES * vector
        words = message("gate {gate} of the IDT at {virt}", gate=vector, virt=Hex(virt))
        data = self.read(virt, GATE_BYTES, words, Target.IDT)
        if not isinstance(data, bytes):
            return data
        gate = Gate.decode(data)
        if not gate.is_usable_type:
            words = message("gate {gate}, which is no interrupt or trap gate,", gate=vector)
            return Raised(exceptions.PROTECTION, index, None, words)
        if not gate.present:
            words = message("gate {gate}, not present,", gate=vector)
            return Raised(exceptions.NOT_PRESENT, index, None, words)
        return gate

    def _check_segment(
        self, selector: int, registers: Registers, external: int
    ) -> Raised | Unknown | None:
        error = selector & ~3 | external
        offset = selector & ~7
        named = Hex(selector)
        if offset == 0:
            return Raised(exceptions.PROTECTION, external, None, Message("a null code selector"))
        if selector & 4 or offset + DESCRIPTOR_BYTES - 1 > registers.gdt_limit:
            words = message("code selector {selector:02x}h, outside the GDT,", selector=named)
            return Raised(exceptions.PROTECTION, error, None, words)
        virt = registers.gdt_base + offset
        words = message("code selector {selector:02x}h in the GDT at {virt}", selector=named, virt=Hex(virt))
        data = self.read(virt, DESCRIPTOR_BYTES, words, Target.GDT)
        if not isinstance(data, bytes):
            return data
        segment = Descriptor.decode(data)
        if not segment.takes_handlers:
            words = message("code selector {selector:02x}h, which is no 64-bit ring 0 code segment,", selector=named)
            return Raised(exceptions.PROTECTION, error, None, words)
        if not segment.present:
            words = message("code selector {selector:02x}h, not present,", selector=named)
            return Raised(exceptions.NOT_PRESENT, error, None, words)
        return None

    def _stack_top(self, ist: int, registers: Registers) -> int | Raised | Unknown:
        if ist == 0:
            return registers.rsp
        base = self._tss_base(registers)
        if base is None:
            return Unknown(Message("the TSS descriptor"))
        virt = base + ist_offset(ist)
        words = message("IST{ist} of the TSS at {virt}", ist=ist, virt=Hex(virt))
        data = self.read(virt, QWORD, words, Target.PLAN)
        return int.from_bytes(data, "little") if isinstance(data, bytes) else data

    def _tss_base(self, registers: Registers) -> int | None:
        """From the bytes of the GDT, not through paging: the CPU holds the base since LTR."""
        found = self.reach(registers.gdt_base + (registers.tr & ~7), AccessKind.READ)
        if not registers.tr or not isinstance(found, Translation):
            return None
        data = self.memory.read(found.phys, 2 * DESCRIPTOR_BYTES)
        return None if data is None else tss_base(data)

    def _push(self, count: int, gate: Gate, top: int) -> Entered | Raised:
        top &= ~0xF
        rsp = top
        for _ in range(count):
            rsp = (rsp - QWORD) & MASK64
            found = self.reach(rsp, AccessKind.WRITE, QWORD)
            if isinstance(found, PageFault):
                words = message("the stack at {virt}", virt=Hex(rsp))
                return self.raised(found, words, Target.PLAN, AccessKind.WRITE)
        return Entered(gate.offset, rsp, gate.selector, gate.ist)

    def read(
        self, virt: int, count: int, words: Message, target: Target
    ) -> bytes | Raised | Unknown:
        """Return bytes of a descriptor table or a TSS; ``words`` name them where they cannot be read."""
        data = b""
        while len(data) < count:
            at = virt + len(data)
            width = min(count - len(data), PAGE_BYTES - at % PAGE_BYTES)
            found = self.reach(at, AccessKind.READ, width)
            if isinstance(found, PageFault):
                return self.raised(found, words, target, AccessKind.READ)
            part = self.memory.read(found.phys, width)
            if part is None:
                return Unknown(words)
            data += part
        return data

    def reach(self, virt: int, kind: AccessKind, width: int = 1) -> Translation | PageFault:
        """Return where an access leads that delivery makes, or its fault.

        Reads are implicit accesses to descriptor tables.
        """
        implicit = kind is AccessKind.READ
        return access(
            self.tables,
            self.cpu,
            virt,
            kind,
            width=width,
            implicit=implicit,
            platform=self.platform,
        )

    @staticmethod
    def raised(fault: PageFault, words: Message, target: Target, kind: AccessKind) -> Raised:
        """Return the exception that a refused access of delivery raises: of the stack #SS, where it is no #PF."""
        vector = fault.vector
        if kind is AccessKind.WRITE and vector == exceptions.PROTECTION:
            vector = exceptions.STACK_FAULT  # delivery writes to the stack alone
        return Raised(vector, fault.error_code, fault.cr2, words, fault, target, kind)

    def entered(self, registers: Registers, entered: Entered) -> Registers:
        """Return the registers at the handler's first instruction."""
        flags = registers.rflags if entered.flags is None else entered.flags
        return replace(
            registers, rip=entered.handler, rsp=entered.rsp, cs=entered.selector, tr=entered.task or registers.tr,
            rflags=flags, segments={**registers.segments, **entered.segments},
        )  # fmt: skip

    def after(self, entered: Entered) -> Delivery:
        """Return the delivery of the next exception: a task has tables of its own (SDM 3A, 9.3)."""
        return self if entered.cr3 is None else replace(self, cpu=replace(self.cpu, cr3=entered.cr3))
