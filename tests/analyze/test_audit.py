"""What will strike a CPU that stands: each hole in its net, and the same CPU without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from cr3scope import limits
from cr3scope.diagnose.audit import audit
from cr3scope.diagnose.rules.processors import ap_shared_tss
from cr3scope.paging.tables import Entries
from cr3scope.render.finding import proof, title
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CR0_PE, CR0_PG, CR0_WP, CR4_PAE, EFER_LMA, EFER_LME, EFER_NXE
from cr3scope.x86.entry import NO_EXECUTE, PRESENT, USER, WRITABLE
from cr3scope.x86.segment import Segment

HIGH = 0xFFFF_FFFF_8000_0000
ROOT, PDPT, PD, PT, LOW = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000  # tables
CODE, STACK, DESCRIPTORS, HANDLER = 0x10000, 0x11000, 0x12000, 0x13000  # frames; mapped at HIGH + the same
P, W, U, NX = PRESENT, WRITABLE, USER, NO_EXECUTE
GDT, IDT, TSS = HIGH + DESCRIPTORS, HIGH + DESCRIPTORS + 0x400, HIGH + DESCRIPTORS + 0x300


@dataclass
class Machine:
    """A kernel that lives high, with everything that an exception needs; a test takes one thing away."""

    frames: dict[int, bytearray] = field(default_factory=lambda: {at: bytearray(4096) for at in range(0x1000, 0x14000, 0x1000)})
    idt_limit: int = 0x1FF
    idt_base: int = IDT
    tr: int = 0x10
    cs: int = 8
    halted: bool = False

    def __post_init__(self) -> None:
        self.entry(ROOT, 511, PDPT | P | W)
        self.entry(PDPT, 510, PD | P | W)
        self.entry(PD, 0, PT | P | W)
        for frame, flags in ((CODE, P), (STACK, P | W | NX), (DESCRIPTORS, P | W | NX), (HANDLER, P)):
            self.entry(PT, frame >> 12, frame | flags)
        self.word(DESCRIPTORS + 8, 0x00AF_9B00_0000_FFFF)
        base = TSS
        self.word(DESCRIPTORS + 0x10, 0x67 | (base & 0xFFFFFF) << 16 | 0x89 << 40 | (base >> 24 & 0xFF) << 56)
        self.word(DESCRIPTORS + 0x18, base >> 32)
        self.word(DESCRIPTORS + 0x300 + 0x24, HIGH + STACK + 0x800)
        for vector in range(32):
            self.gate(vector, HIGH + HANDLER + 16 * vector, ist=vector == 8)

    def word(self, phys: int, value: int) -> None:
        self.frames[phys & -4096][phys & 4095 : (phys & 4095) + 8] = value.to_bytes(8, "little")

    def entry(self, table: int, index: int, value: int) -> None:
        self.word(table + 8 * index, value)

    def gate(self, vector: int, handler: int, ist: int = 0, kind: int = 0x8E) -> None:
        at = DESCRIPTORS + 0x400 + 16 * vector
        self.word(at, handler & 0xFFFF | 8 << 16 | ist << 32 | kind << 40 | (handler >> 16 & 0xFFFF) << 48)
        self.word(at + 8, handler >> 32)

    def table(self, phys: int) -> Entries | None:
        return np.frombuffer(bytes(self.frames[phys]), "<u8").astype(np.uint64) if phys in self.frames else None

    def physical(self, phys: int, length: int) -> bytes:
        frame = self.frames.get(phys & -4096, b"")
        return bytes(frame[phys & 4095 : (phys & 4095) + length])

    def cpu(self, number: int = 0) -> StoppedCpu:
        registers = {"RIP": HIGH + CODE, "RSP": HIGH + STACK + 0x800, "CR3": ROOT, "CR0": CR0_PE | CR0_PG | CR0_WP, "CR4": CR4_PAE,
                     "EFER": EFER_LME | EFER_LMA | EFER_NXE, "RFL": 2, "HLT": int(self.halted)}  # fmt: skip
        return StoppedCpu(self, registers, number=number, selectors={"CS": self.cs, "TR": self.tr},
                          idt=Table(self.idt_base, self.idt_limit), gdt=Table(GDT, 0x1F))  # fmt: skip


def found(machine: Machine, is_done: bool = True, firmware: int | None = None) -> list[str]:
    told = audit([machine.cpu()], firmware, is_done)
    assert all(one.severity.value == "warning" for one in told)
    return [one.rule for one in told]


def test_a_cpu_that_has_all_it_needs_has_no_finding() -> None:
    assert found(Machine()) == []
    assert found(Machine(tr=0)) == []  # who has no TSS has not forgotten a field of it


def test_a_tss_of_whoever_ran_before_is_not_one_in_which_a_stack_was_forgotten() -> None:
    """memtest86+ loads a GDT of its own, and no TSS: TR still is the firmware's, beyond that GDT's limit."""
    machine = Machine(tr=0x48)
    machine.gate(8, HIGH + HANDLER)
    assert found(machine) == []


Change = Callable[[Machine], None]
HOLES: list[tuple[str, str, Change]] = [
    ("stack-unmapped", "the stack is not mapped at", lambda m: m.entry(PT, STACK >> 12, 0)),
    ("stack-readonly", "stack", lambda m: m.entry(PT, STACK >> 12, STACK | P | NX)),
    ("idt-not-loaded", "IDTR has base 0x0, limit 3ffh", lambda m: vars(m).update(idt_base=0, idt_limit=0x3FF)),
    ("idt-not-loaded", "limit 0h", lambda m: vars(m).update(idt_limit=0)),
    ("idt-unmapped", "is not mapped", lambda m: vars(m).update(idt_base=HIGH + 0x20000)),
    ("idt-gate-bad", "gate 14 of the IDT (#PF) is not present", lambda m: m.gate(14, HIGH + HANDLER, kind=0x0E)),
    ("idt-gate-bad", "gate 13 of the IDT (#GP) is no 64-bit", lambda m: m.gate(13, HIGH + HANDLER, kind=0x85)),
    ("idt-gate-bad", "gate 14 of the IDT (#PF) lies beyond", lambda m: vars(m).update(idt_limit=0xDF)),
    ("handler-unmapped", "cannot be executed", lambda m: m.entry(PT, HANDLER >> 12, HANDLER | P | NX)),
    ("double-fault-stack", "gate 8 has IST 0", lambda m: m.gate(8, HIGH + HANDLER)),
    ("code-writable", "can be written: rwx-", lambda m: m.entry(PT, CODE >> 12, CODE | P | W)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "words", "change"), HOLES, ids=[f"{row[0]}-{row[1]}" for row in HOLES])
def test_a_hole_is_a_warning_with_its_reason(rule: str, words: str, change: Change) -> None:
    machine = Machine()
    change(machine)
    (one,) = audit([machine.cpu()], None, is_done=True)
    assert (one.rule, one.severity.value) == (rule, "warning") and words in title(one), title(one)


def identity(machine: Machine, flags: int) -> None:
    """Map the first 2 MiB one to one, by a large page."""
    machine.entry(ROOT, 0, LOW | flags)
    machine.entry(LOW, 0, (LOW + 0x1000) | flags)
    machine.entry(LOW + 0x1000, 0, flags | 0x80 | NX)


def test_address_0_is_told_of_a_kernel_that_lives_high_only() -> None:
    machine = Machine()
    identity(machine, P | W)
    assert found(machine) == ["null-mapped"]
    machine.idt_base = IDT - HIGH  # it still uses what is mapped low
    assert found(machine) == []


def test_what_user_code_can_write_is_told_by_what_lies_there() -> None:
    machine = Machine()
    identity(machine, P | W | U)
    told = {one.rule: one for one in audit([machine.cpu()], None, is_done=True)}
    assert set(told) == {"tables-user-writable", "null-mapped"}
    words = title(told["tables-user-writable"])
    assert "the IDT" in words and "the GDT" in words and "the kernel's code" in words and "more" in words
    identity(machine, P | W)
    machine.entry(LOW, 0, (LOW + 0x1000) | P | W | U)  # U in one entry of the way alone
    assert "tables-user-writable" not in found(machine)


def test_what_a_kernel_makes_right_late_is_told_at_its_end_only() -> None:
    machine = Machine()
    machine.entry(PT, CODE >> 12, CODE | P | W)
    assert found(machine, is_done=False) == [] and found(machine) == ["code-writable"]


def test_cpus_that_have_no_tables_of_their_own_are_left_alone() -> None:
    broken = Machine(idt_limit=0)
    assert found(broken) == ["idt-not-loaded"]
    assert found(broken, firmware=ROOT) == []
    assert found(Machine(idt_limit=0, cs=0x33)) == []  # ring 3: its stack is no matter of the kernel's
    outside = broken.cpu()
    assert audit([replace(outside, registers={**outside.registers, "EFER": 0})], None, True) == ()


def test_of_several_cpus_each_rule_is_told_once_with_the_number() -> None:
    broken, good = Machine(idt_limit=0), Machine()
    (one,) = audit([good.cpu(0), broken.cpu(1), broken.cpu(2)], None, True)
    assert "CPU 1 of 3" in proof(one)


def test_tables_that_go_round_in_circles_end(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    for index in range(1, 256):
        machine.entry(ROOT, index, ROOT | P | W | U)
    assert "idt-gate-bad" not in found(machine)
    monkeypatch.setattr(limits, "AUDIT_TABLES", 1)
    identity(machine, P | W | U)
    assert "tables-user-writable" not in found(machine)


@dataclass
class ShortMachine(Machine):
    """The same in 32-bit paging, at 0xc0000000 and up."""

    tr: int = 0
    idt_base: int = 0xC0000000 + DESCRIPTORS + 0x400
    idt_limit: int = 0xFF

    def __post_init__(self) -> None:
        self.short(ROOT, 768, PT | P | W)
        for frame, flags in ((CODE, P), (STACK, P | W), (DESCRIPTORS, P | W), (HANDLER, P)):
            self.short(PT, frame >> 12, frame | flags)
        self.word(DESCRIPTORS + 8, 0x00CF_9B00_0000_FFFF)
        for vector in range(32):
            self.gate(vector, 0xC0000000 + HANDLER + 16 * vector)

    def short(self, table: int, index: int, value: int) -> None:
        self.frames[table][4 * index : 4 * index + 4] = value.to_bytes(4, "little")

    def gate(self, vector: int, handler: int, ist: int = 0, kind: int = 0x8E) -> None:
        self.word(DESCRIPTORS + 0x400 + 8 * vector, handler & 0xFFFF | 8 << 16 | kind << 40 | (handler >> 16 & 0xFFFF) << 48)

    def cpu(self, number: int = 0) -> StoppedCpu:
        registers = {"RIP": 0xC0000000 + CODE, "RSP": 0xC0000000 + STACK + 0x800, "CR3": ROOT, "CR0": CR0_PE | CR0_PG | CR0_WP, "CR4": 0,
                     "EFER": 0, "RFL": self.flags}  # fmt: skip
        return StoppedCpu(self, registers, number=number, selectors={"CS": self.cs, "TR": self.tr}, code_bits=32,
                          idt=Table(self.idt_base, self.idt_limit), gdt=Table(0xC0000000 + DESCRIPTORS, 0x1F))  # fmt: skip

    flags: int = 2


def test_a_sound_32_bit_kernel_is_silent() -> None:
    assert found(ShortMachine()) == []


SHORT: dict[str, Callable[[ShortMachine], object]] = {
    "stack-unmapped": lambda one: one.short(PT, STACK >> 12, 0),
    "stack-readonly": lambda one: one.short(PT, STACK >> 12, STACK | P),
    "idt-not-loaded": lambda one: setattr(one, "idt_limit", 0x3FF) or setattr(one, "idt_base", 0),
    "idt-unmapped": lambda one: setattr(one, "idt_base", 0xC0050000),
    "idt-gate-bad": lambda one: one.gate(13, 0xC0000000 + HANDLER, kind=0x0E),
    "handler-unmapped": lambda one: one.short(PT, HANDLER >> 12, 0),
    "tables-user-writable": lambda one: one.short(ROOT, 768, PT | P | W | U) or one.short(PT, 0x100, ROOT | P | W | U),
    "null-mapped": lambda one: one.short(ROOT, 0, PT | P | W) or one.short(PT, 0, P | W),
}


@pytest.mark.parametrize("rule", SHORT)
def test_outside_long_mode_each_hole_is_told_too(rule: str) -> None:
    machine = ShortMachine()
    SHORT[rule](machine)
    assert found(machine) == [rule]


def test_virtual_8086_mode_has_no_tables_of_its_own() -> None:
    machine = ShortMachine(flags=1 << 17 | 2)
    machine.short(PT, STACK >> 12, 0)
    assert found(machine) == []


def with_task(cpu: StoppedCpu, base: int, selector: int = 0x10) -> StoppedCpu:
    return replace(cpu, segments={**cpu.segments, "TR": Segment(selector, base, 0x67)})


@pytest.mark.parametrize(("base", "selector", "is_told"), [(TSS, 0x10, True), (TSS + 0x80, 0x10, False), (TSS, 0, False)])
def test_one_tss_of_two_cpus_is_told_once(base: int, selector: int, is_told: bool) -> None:
    cpus = [with_task(Machine().cpu(0), TSS), with_task(Machine().cpu(1), base, selector)]
    told = [title(one) for one in audit(cpus, None, is_done=True)]
    assert told == (["CPU 0 and CPU 1 have loaded the same TSS"] if is_told else [])


def test_a_tss_at_one_address_in_two_frames_is_not_shared() -> None:
    """Each CPU may have its own at the same address, under tables of its own."""
    other = Machine()
    other.frames[0x12000], other.frames[0x13000] = other.frames[0x13000], other.frames[0x12000]
    for at, frame in ((0x12, 0x13000 | P | W | NX), (0x13, 0x12000 | P)):
        other.entry(PT, at, frame)
    cpus = [with_task(Machine().cpu(0), TSS), with_task(other.cpu(1), TSS)]
    assert audit(cpus, None, is_done=True) == ()


@pytest.mark.parametrize(("kind", "rule"), [(0x8B, "ap-shared-tss"), (0x89, None)], ids=["busy", "available"])
def test_an_ltr_of_what_another_cpu_has_loaded_is_named(kind: int, rule: str | None) -> None:
    machine = Machine()
    at, base = DESCRIPTORS + 0x10, TSS
    machine.word(at, 0x67 | (base & 0xFFFFFF) << 16 | kind << 40 | (base >> 24 & 0xFF) << 56)
    machine.frames[CODE][:3] = bytes.fromhex("0f00d8")  # ltr ax
    cpus = [with_task(machine.cpu(0), TSS), with_task(machine.cpu(1), 0, 0)]
    found = ap_shared_tss.refused(cpus[1], Fault(13, 0x10, None, HIGH + CODE), cpus)
    assert (found.rule if found else None) == rule
    alone = [cpus[0], cpus[1]] if rule is None else [cpus[1]]
    assert ap_shared_tss.refused(cpus[1], Fault(13, 0x10, None, HIGH + CODE), alone) is None
