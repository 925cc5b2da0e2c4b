"""A small x86 CPU that does nothing but deliver events, as SDM 3A, chapter 7, and QEMU's TCG do it.

It shares no line with the product: what it decides is held against what the product reads from a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

EXCEPTION, INT, INTERRUPT = "exception", "int", "interrupt"
DF, TS, NP, SS, GP, PF = 8, 10, 11, 12, 13, 14
WITH_ERROR = {DF, TS, NP, SS, GP, PF, 17}
NOTHING = 0xFFFF_FFFF  # `old` while nothing is delivered
PE, WP, PG = 1, 1 << 16, 1 << 31
PAE, SMEP = 1 << 5, 1 << 20
LME, LMA, NXE = 1 << 8, 1 << 10, 1 << 11
IF = 1 << 9
_CODE = 0x08
_QUAD, _LONG = 8, 4


class Mode(Enum):
    """How wide the kernel is, and whether it pages."""

    FLAT = "protected, paging off"
    PAGED = "protected, 32-bit paging"
    PAE = "protected, PAE"
    LONG = "long mode"


class Flaw(Enum):
    """What is wrong with a gate, or with what it names."""

    EMPTY = "the gate is zeros"
    ABSENT = "the gate is not present"
    NULL = "its selector is null"
    BEYOND = "its selector is beyond the GDT"
    DATA = "its selector is no code segment"
    AWAY = "its segment is not present"


@dataclass(frozen=True)
class Gate:
    """``stack``: of the TSS' interrupt stacks, 1 to 7 (long mode); 0 takes the one in use, or RSP0 from ring 3."""

    handler: int
    flaw: Flaw | None = None
    dpl: int = 0
    stack: int = 0


@dataclass
class Cpu:
    """The registers, and what the memory holds that delivery touches. ``away``: ranges (first, last) without a page."""

    mode: Mode
    number: int = 0
    rip: int = 0
    rsp: int = 0
    cpl: int = 0
    flags: int = 2
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    idt: tuple[int, int] = (0, 0)
    gdt: tuple[int, int] = (0, 0x27)
    task: tuple[int, int, int] = (0, 0, 0xFFFF)  # selector, base, limit
    gates: dict[int, Gate] = field(default_factory=dict)
    stack0: int = 0
    stacks: dict[int, int] = field(default_factory=dict)
    away: list[tuple[int, int]] = field(default_factory=list)
    doubles_gates: bool = False  # error codes of gates, as QEMU before 8.0
    is_real: bool = False
    base: int = 0  # of the code segment
    halted: bool = False
    smm: bool = False

    @property
    def is_long(self) -> bool:
        return self.mode is Mode.LONG and not self.is_real

    @property
    def pages(self) -> bool:
        return self.mode is not Mode.FLAT and not self.is_real

    @property
    def cr0(self) -> int:
        if self.is_real:
            return 0x10
        return 0x11 | (PG | WP if self.pages else 0)

    @property
    def tells_fetches(self) -> bool:
        return self.pages and (bool(self.cr4 & SMEP) or bool(self.cr4 & PAE and self.efer & NXE))

    def snapshot(self) -> Cpu:
        one = Cpu.__new__(Cpu)  # a log has thousands, and `replace` takes ten times as long
        one.__dict__.update(self.__dict__)
        return one

    def page_error(self, access: str, present: bool = False, reserved: bool = False, user: bool | None = None) -> int:
        is_user = self.cpl == 3 if user is None else user
        error = (1 if present else 0) | (2 if access == "write" else 0) | (4 if is_user else 0) | (8 if reserved else 0)
        return error | (16 if access == "fetch" and self.tells_fetches else 0)


@dataclass
class Happening:
    """One event as it was: ``cpu``: the registers when it was raised; ``old`` and ``struck`` as QEMU announces them, None
    if it is announced by nothing or by ``Servicing``; ``by_delivery``: of the one before. ``failed``: why it could not be
    delivered; ``hit``: vector, error code and CR2 of what struck then."""

    kind: str
    vector: int
    error: int
    cpu: Cpu
    old: int | None = None
    struck: int | None = None
    by_delivery: bool = False
    failed: str | None = None
    hit: tuple[int, int, int | None] | None = None
    is_real: bool = False  # no record of it
    access: str | None = None
    boot: int = 0


class _Struck(Exception):
    def __init__(self, vector: int, error: int, why: str, cr2: int | None = None) -> None:
        super().__init__(why)
        self.vector, self.error, self.why, self.cr2 = vector, error, why, cr2


@dataclass
class Died:
    """The shutdown: what struck while #DF was delivered."""

    struck: int
    cpu: Cpu
    boot: int = 0


def has_no_idt(cpu: Cpu) -> bool:
    """Return whether the IDT is one that nobody loaded."""
    return not cpu.is_real and cpu.idt[0] == 0 and cpu.idt[1] in (0, 0x3FF, 0xFFFF)


class Machine:
    """Takes events of one boot and keeps what happened, in its order."""

    def __init__(self, boot: int) -> None:
        self.boot = boot
        self.happened: list[Happening | Died] = []

    def interrupt(self, cpu: Cpu, vector: int, kind: str) -> bool:
        """Take an INT instruction or an interrupt; return whether the machine lives."""
        event = Happening(kind, vector, 0, cpu.snapshot(), is_real=cpu.is_real, boot=self.boot)
        self.happened.append(event)
        try:
            self._deliver(cpu, event)
        except _Struck as struck:
            return self._failed(cpu, event, struck, NOTHING)
        return True

    def raise_(self, cpu: Cpu, vector: int, error: int = 0, cr2: int | None = None, access: str | None = None) -> bool:
        """Raise an exception; return whether the machine lives."""
        return self._raise(cpu, _Struck(vector, error, "", cr2), NOTHING, False, access)

    def _failed(self, cpu: Cpu, event: Happening, struck: _Struck, old: int) -> bool:
        event.failed, event.hit = struck.why, (struck.vector, struck.error, struck.cr2)
        access = None if struck.vector != PF else "write" if struck.error & 2 else "read"
        return self._raise(cpu, struck, old, True, access)

    def _raise(self, cpu: Cpu, raised: _Struck, old: int, by_delivery: bool, access: str | None) -> bool:
        vector, error = raised.vector, raised.error
        if raised.cr2 is not None:
            cpu.cr2 = raised.cr2
        if old == DF:
            self.happened.append(Died(vector, cpu.snapshot(), self.boot))
            return False
        contributory = vector == 0 or TS <= vector <= GP
        first = old == 0 or TS <= old <= GP
        merged = first and contributory or old == PF and (contributory or vector == PF)
        event = Happening(
            EXCEPTION, DF if merged else vector, 0 if merged else error, cpu.snapshot(), old, vector, by_delivery,
            is_real=cpu.is_real, access=None if merged else access, boot=self.boot,
        )
        self.happened.append(event)
        if contributory or vector == PF or merged:
            old = event.vector
        try:
            self._deliver(cpu, event)
        except _Struck as struck:
            return self._failed(cpu, event, struck, old)
        return True

    def _deliver(self, cpu: Cpu, event: Happening) -> None:
        if cpu.is_real:
            self._deliver_real(cpu, event.vector)
            return
        vector, size = event.vector, 16 if cpu.is_long else 8
        of_gate = vector * (16 if cpu.is_long and cpu.doubles_gates else 8) + 2
        absent = "no-idt" if has_no_idt(cpu) else None
        if (vector + 1) * size - 1 > cpu.idt[1]:
            raise _Struck(GP, of_gate, absent or "beyond-idt-limit")
        _touch(cpu, cpu.idt[0] + vector * size, absent or "idt-unmapped")
        gate = cpu.gates.get(vector)
        if absent or gate is None or gate.flaw is Flaw.EMPTY:
            raise _Struck(GP, of_gate, absent or "gate-bad")
        if event.kind == INT and gate.dpl < cpu.cpl:
            raise _Struck(GP, of_gate, "gate-privileged")
        if gate.flaw is Flaw.ABSENT:
            raise _Struck(NP, of_gate, "gate-not-present")
        self._select(cpu, gate)
        rsp = self._stack(cpu, gate)
        frame = [_QUAD] * 5 if cpu.is_long else [_LONG] * (5 if cpu.cpl else 3)
        frame += frame[:1] if event.kind == EXCEPTION and vector in WITH_ERROR else []
        if cpu.is_long:
            rsp &= ~0xF
        for width in frame:
            rsp = (rsp - width) % (1 << (64 if cpu.is_long else 32))
            if cpu.is_long and not _is_canonical(rsp):
                raise _Struck(GP, 0, "stack-bad")
            _touch(cpu, rsp, "stack-unmapped" if cpu.cpl == 0 or cpu.task[1] else "no-tss", 2)
        cpu.rsp, cpu.rip, cpu.cpl, cpu.base = rsp, gate.handler, 0, 0
        cpu.flags &= ~IF

    def _select(self, cpu: Cpu, gate: Gate) -> None:
        beyond = (cpu.gdt[1] + 1 + 7) & ~7
        selector = {Flaw.NULL: 0, Flaw.BEYOND: beyond, Flaw.DATA: 0x10, Flaw.AWAY: 0x20}.get(gate.flaw or Flaw.EMPTY, _CODE)
        if gate.flaw is Flaw.NULL:
            raise _Struck(GP, 0, "null-selector")
        if gate.flaw is Flaw.BEYOND or selector + 7 > cpu.gdt[1]:
            raise _Struck(GP, selector, "beyond-gdt-limit")
        _touch(cpu, cpu.gdt[0] + selector, "gdt-unmapped")
        if gate.flaw is Flaw.DATA:
            raise _Struck(GP, selector, "bad-selector")
        if gate.flaw is Flaw.AWAY:
            raise _Struck(NP, selector, "segment-not-present")

    def _stack(self, cpu: Cpu, gate: Gate) -> int:
        if not cpu.cpl and not (gate.stack and cpu.is_long):
            return cpu.rsp
        place = (4 + (gate.stack + 3) * 8 if gate.stack else 4) if cpu.is_long else 4
        selector, base, limit = cpu.task
        if place + 7 > limit:
            raise _Struck(TS, selector & 0xFFFC, "no-tss")
        _touch(cpu, base + place, "tss-unmapped")
        return cpu.stacks.get(gate.stack, cpu.stack0) if gate.stack and cpu.is_long else cpu.stack0

    def _deliver_real(self, cpu: Cpu, vector: int) -> None:
        if vector * 4 + 3 > cpu.idt[1]:
            raise _Struck(GP, vector * 8 + 2, "beyond-idt-limit")
        cpu.rip, cpu.rsp = 0xE000 + vector, (cpu.rsp - 6) & 0xFFFF


def is_away(cpu: Cpu, address: int) -> bool:
    """Return whether no page holds the address."""
    return cpu.pages and any(first <= address <= last for first, last in cpu.away)


def _touch(cpu: Cpu, address: int, why: str, error: int = 0) -> None:
    if is_away(cpu, address):
        raise _Struck(PF, error, why, address)


def _is_canonical(address: int) -> bool:
    return address < 1 << 47 or address >= (1 << 64) - (1 << 47)
