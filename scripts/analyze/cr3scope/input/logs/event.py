"""What a log tells, whoever wrote it: exceptions and interrupts, loads of CR3, the end by a triple fault."""

from __future__ import annotations

from dataclasses import dataclass

from cr3scope.x86.access import Fault
from cr3scope.x86.exceptions import PAGE_FAULT, WITH_ERROR_CODE

NO_EXCEPTION = 0xFFFF_FFFF  # `old` of an exception that is not raised while another is delivered


@dataclass(frozen=True, slots=True)
class InterruptRecord:
    """One interrupt or exception. What the log does not hold (it may be cut) is None.

    ``offset`` is the byte of the log, ``number`` counts the records. ``cr2`` is the register at the time of the
    dump: for a double fault, the address of the second fault.
    """

    offset: int
    number: int
    vector: int
    error_code: int
    rip: int
    rsp: int
    cr2: int | None = None
    cr3: int | None = None
    idt_base: int | None = None
    gdt: tuple[int, int] | None = None  # base, limit
    old: int | None = None  # the exception that was being delivered
    is_exception: bool = True
    is_software: bool = False  # of an INT instruction
    task: int | None = None  # base of the TSS: 0 until somebody loads TR
    gs_base: int | None = None

    @property
    def fault(self) -> Fault:
        """Return the exception as the verdict states it."""
        return Fault(
            self.vector,
            self.error_code if self.vector in WITH_ERROR_CODE else None,
            self.cr2 if self.vector == PAGE_FAULT else None,
            self.rip,
            self.cr3,
            self.rsp,
            self.offset,
        )

    @property
    def identity(self) -> tuple[int, int, int, int | None]:
        """Return what is equal in all exceptions of a storm."""
        return self.vector, self.error_code, self.rip, self.fault.cr2


@dataclass(frozen=True, slots=True)
class Loaded:
    """CR3 was loaded. Records without a CR3 of their own are under the last one."""

    offset: int
    cr3: int


@dataclass(frozen=True, slots=True)
class TripleFault:
    """No exception could be delivered: the machine resets or stops."""

    offset: int


Event = InterruptRecord | Loaded | TripleFault
