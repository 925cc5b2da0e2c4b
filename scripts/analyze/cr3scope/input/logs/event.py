"""What a log tells, whoever wrote it: exceptions, interrupts, loads of CR3, resets, and how the machine ended.

A producer of logs (``formats/``) yields these; nothing else in the package knows its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.why import Why
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CR0_PE, CR0_PG, CR0_TS, CR4_LA57, CR4_PAE, CR4_SMEP, EFER_LMA, EFER_NXE
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.exceptions import PAGE_FAULT, PF_FETCH, PF_WRITE, WITH_ERROR_CODE
from cr3scope.x86.mode import Mode
from cr3scope.x86.word import MAX_INSTRUCTION_BYTES

NO_EXCEPTION = 0xFFFF_FFFF  # `old` of an exception that is not raised while another is delivered


class Kind(Enum):
    """Where an event came from."""

    EXCEPTION = "exception"  # the CPU's own
    INT = "int"  # an INT instruction
    INTERRUPT = "interrupt"  # a device


@dataclass(frozen=True, slots=True)
class RegisterDump:
    """The registers of a CPU as a log shows them; None (or empty) where it does not.

    ``linear`` is RIP with the base of CS; ``idt`` and ``gdt`` are base and limit; ``task`` is the base of the TSS, 0
    until somebody loads TR, ``task_limit`` its limit; ``code_bits`` 16, 32 or 64; ``general``: registers by the names
    that QEMU's monitor gives them, of a dump that is more than a step on the way. ``has_wide_tables``: the bases of IDT
    and GDT are written in 16 digits, which QEMU does in long mode alone.
    """

    rip: int | None = None
    rsp: int | None = None
    linear: int | None = None
    flags: int | None = None
    cpl: int | None = None
    cs: int | None = None
    code_bits: int | None = None
    cr0: int | None = None
    cr2: int | None = None
    cr3: int | None = None
    cr4: int | None = None
    efer: int | None = None
    idt: tuple[int, int] | None = None
    gdt: tuple[int, int] | None = None
    task: int | None = None
    task_limit: int | None = None
    gs_base: int | None = None
    halted: bool | None = None
    general: Mapping[str, int] = field(default_factory=dict)
    has_wide_tables: bool | None = None

    @property
    def is_protected(self) -> bool | None:
        """Return whether CR0.PE is set; None where CR0 is not known."""
        return None if self.cr0 is None else bool(self.cr0 & CR0_PE)

    @property
    def has_paging(self) -> bool | None:
        """Return whether CR0.PG is set; None where CR0 is not known."""
        return None if self.cr0 is None else bool(self.cr0 & CR0_PG)

    @property
    def in_long_mode(self) -> bool | None:
        """Return whether the CPU is in long mode, 64-bit or compatible (SDM 3A, 2.2.1); None where nothing tells."""
        if self.efer is not None:
            return bool(self.efer & EFER_LMA)
        if self.code_bits == 64 or (self.rip or 0) >> 32:
            return True
        if self.has_wide_tables is not None:
            return self.has_wide_tables
        if self.cr0 is not None and not self.cr0 & CR0_PG or self.cr4 is not None and not self.cr4 & CR4_PAE:
            return False
        return None

    @property
    def is_behind_task_switch(self) -> bool:
        """Return whether the CPU may be in a task that it has switched to: CR0.TS is set."""
        return bool((self.cr0 or 0) & CR0_TS)

    @property
    def mode(self) -> Mode | None:
        """Return the mode of the CPU; None where nothing tells. Of long mode without CR4 the depth is taken for 4."""
        if self.cr0 is not None and not self.cr0 & CR0_PE:
            return Mode.REAL
        if self.in_long_mode:
            return Mode.LEVELS_5 if (self.cr4 or 0) & CR4_LA57 else Mode.LEVELS_4
        if self.cr0 is None:
            return None
        if not self.cr0 & CR0_PG:
            return Mode.PROTECTED
        if self.in_long_mode is None or self.cr4 is None:
            return None
        return Mode.PAE if self.cr4 & CR4_PAE else Mode.BITS_32

    @property
    def reports_fetches(self) -> bool | None:
        """Return whether a page fault's error code tells fetches from reads (SDM 3A, 5.7); None where nothing tells."""
        if self.cr4 is not None and self.cr4 & CR4_SMEP:
            return True
        if self.cr4 is not None and not self.cr4 & CR4_PAE:
            return False
        return None if self.efer is None or self.cr4 is None else bool(self.efer & EFER_NXE)


NO_DUMP = RegisterDump()


@dataclass(frozen=True, slots=True)
class InterruptRecord:
    """One interrupt or exception. What the log does not hold (it may be cut) is None.

    ``offset`` is the byte of the log, ``number`` counts the records. ``cpu``: the registers when it was raised;
    its CR2 is the register's at the time of the dump: for a double fault, the address of the second fault.
    ``old``: the exception that was being delivered when this one, or ``struck`` which made a double fault of it,
    was raised. ``is_whole``: its registers were dumped. ``reported_by``: who of the guest's own code took it and said so,
    in words (``the firmware's screen``); empty of an emulator's record. ``whose``: which of several CPUs it
    was, in words, where the log says so. ``why``: the reason that the emulator itself states, why it could not be
    delivered; ``said``: what it says of the cause, as it says it, behind its name. ``remarks``:
    what else the log says of it, and what of it is uncertain, in words of ours.
    """

    offset: int
    number: int
    vector: int
    error_code: int | None = None
    cpu: RegisterDump = NO_DUMP
    old: int | None = None
    struck: int | None = None
    kind: Kind = Kind.EXCEPTION
    is_whole: bool = True
    reported_by: str = ""
    whose: str = ""
    why: Why | None = None
    said: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def is_exception(self) -> bool:
        return self.kind is Kind.EXCEPTION

    @property
    def rip(self) -> int | None:
        return self.cpu.rip

    @property
    def rsp(self) -> int | None:
        return self.cpu.rsp

    @property
    def cr2(self) -> int | None:
        return self.cpu.cr2

    @property
    def cr3(self) -> int | None:
        return self.cpu.cr3

    @property
    def task(self) -> int | None:
        return self.cpu.task

    @property
    def fault(self) -> Fault:
        """Return the exception as the verdict states it."""
        return Fault(
            self.vector,
            self.error_code if self.is_exception and self.vector in WITH_ERROR_CODE else None,
            self._reached,
            self.rip,
            self.cr3,
            self.rsp,
            self.offset,
            is_fetch=self.access == "fetch",
        )

    def may_share_cpu(self, other: InterruptRecord) -> bool:
        """Return whether two records may be of the same CPU: each CPU of a running kernel has a task register of its own.

        Outside long mode a task switch gives one CPU another task register, but leaves its GDT in force; it sets CR0.TS (SDM 3A, 9.3).
        """
        if not self.task or not other.task or self.task == other.task:
            return True
        may_switch = self.may_switch_tasks and other.may_switch_tasks and self.cpu.gdt == other.cpu.gdt
        return may_switch and (self.cpu.is_behind_task_switch or other.cpu.is_behind_task_switch)

    @property
    def may_switch_tasks(self) -> bool:
        """Return whether the CPU can have left its task by a switch: not in long mode, nor is one told of that may be in it."""
        return self.cpu.in_long_mode is False and self.cpu.gdt is not None

    @property
    def identity(self) -> tuple[Kind, int, int | None, int | None, int | None]:
        """Return what is equal in all exceptions of a storm."""
        return self.kind, self.vector, self.error_code, self.rip, self._reached

    @property
    def _reached(self) -> int | None:
        """What a page fault could not reach. CR2 says nothing of anything else."""
        return self.cr2 if self.is_exception and self.vector == PAGE_FAULT else None

    @property
    def access(self) -> str | None:
        """Return ``read``, ``write`` or ``fetch`` of a page fault; None of anything else, and where it is not known.

        Where the error code does not tell fetches (no NX, no SMEP), CR2 does: an instruction that does not lie in
        a page that is there cannot read itself. Whether one that may reach into the next page reads there, nothing tells.
        """
        error = self.error_code
        if not self.is_exception or self.vector != PAGE_FAULT or error is None:
            return None
        if error & PF_FETCH:
            return "fetch"
        if error & PF_WRITE:
            return "write"
        if self.cr2 is None:
            return None if not self.cpu.reports_fetches else "read"
        place = self.rip if self.cpu.linear is None else self.cpu.linear
        if self.cpu.reports_fetches or place is None:
            return "read" if self.cpu.reports_fetches else None
        if place == self.cr2:
            return "fetch"
        return None if self.cr2 % PAGE_BYTES == 0 and place < self.cr2 < place + MAX_INSTRUCTION_BYTES else "read"


def by_task(records: Sequence[InterruptRecord]) -> list[list[InterruptRecord]]:
    """Return the records of each CPU where task registers tell them apart; else all as one.

    Tasks between which one CPU may have switched are one.
    """
    first: dict[tuple[int, int] | None, int] = {}  # of the tasks under a GDT
    switched = {one.cpu.gdt for one in records if one.cpu.is_behind_task_switch}
    own = [
        first.setdefault(one.cpu.gdt, one.task) if one.task and one.may_switch_tasks and one.cpu.gdt in switched else one.task or 0
        for one in records
    ]
    if len({task for task in own if task}) < 2:
        return [list(records)]
    groups: dict[int, list[InterruptRecord]] = {}
    for record, task in zip(records, own):
        groups.setdefault(task, []).append(record)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class Loaded:
    """CR3 was loaded. Records without a CR3 of their own are under the last one."""

    offset: int
    cr3: int


@dataclass(frozen=True, slots=True)
class TripleFault:
    """No exception could be delivered: the machine resets or stops.

    ``struck``: the vector that was raised while #DF was delivered; None where the log does not tell. ``cpu``: the registers
    as they were. ``why`` and ``said``: as of a record, where no record of the exceptions before it stands in the log.
    """

    offset: int
    struck: int | None = None
    cpu: RegisterDump = NO_DUMP
    why: Why | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """The machine began anew. ``cpu``: the registers as they were before, where the log shows them."""

    offset: int
    cpu: RegisterDump = NO_DUMP


@dataclass(frozen=True, slots=True)
class Stopped:
    """Whoever runs the guest gave it up, and says ``why`` in words of ours. ``delivering``: the vector that was being
    delivered then; None if none was, or nobody says. ``by_guest``: who says so is the guest itself, a kernel or Xen."""

    offset: int
    why: str
    delivering: int | None = None
    cpu: RegisterDump = NO_DUMP
    by_guest: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """The registers of a CPU of which nothing is said to have happened; ``whose`` says in words where they come from."""

    offset: int
    cpu: RegisterDump
    whose: str


@dataclass(frozen=True, slots=True)
class Walked:
    """A walk that the guest's own kernel printed: (level, entry) from the root down, as far as it went.

    The level of the root tells the kind of the tables: 5 or 4 in long mode, 3 of PAE, 2 of two levels (SDM 3A, 5.3 ff.).
    """

    offset: int
    virt: int
    entries: tuple[tuple[int, int], ...]


Event = InterruptRecord | Loaded | TripleFault | Reset | Stopped | Shown | Walked
