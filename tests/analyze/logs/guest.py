"""Invents what befalls a guest: boots with a life of their own, each with an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from analyze.logs.cpu import (
    DF, EXCEPTION, GP, IF, INT, INTERRUPT, LMA, LME, NP, NXE, PAE, PF, SMEP, SS, TS, Cpu, Died, Flaw, Gate, Happening, Machine,
    Mode,
)  # fmt: skip
from analyze.logs.qemu_writer import Noise, Reset, Smm, Version, at_reset

BENIGN = (1, 4, 5, 6, 7, 16, 19)
PAGE = 0x1000
RUN = 16  # so many equal ones are a storm


@dataclass
class Boot:
    """What was meant with one boot. ``is_trick``: SeaBIOS reset the machine. ``nested``: by the identity of an event, that
    in whose handler it was raised. ``ends``: in words, for people."""

    number: int
    ends: str = ""
    is_trick: bool = False
    nested: dict[int, Happening] = field(default_factory=dict)


@dataclass
class Tale:
    """All boots, and what happened in its order."""

    boots: list[Boot] = field(default_factory=list)
    told: list[Happening | Died | Reset | Noise | Smm] = field(default_factory=list)
    cpus: int = 1


class Guest:
    """One boot of a guest, as chance has it."""

    def __init__(self, rng: Random, version: Version, boot: Boot, cpus: int) -> None:
        self.rng, self.version, self.boot = rng, version, boot
        self.machine = Machine(boot.number)
        modes = [Mode.FLAT, Mode.PAGED, Mode.PAE] + ([] if version.narrow else [Mode.LONG] * 4)
        self.mode = rng.choice(modes)
        self.is_long = self.mode is Mode.LONG
        self.word = 8 if self.is_long else 4
        high = rng.random() < 0.6
        self.code = (0xFFFF_FFFF_8010_0000 if high else 0x20_0000) if self.is_long else 0xC010_0000 if high else 0x10_0000
        self.is_early = rng.random() < 0.25  # interrupts are off all the time
        self.has_task = cpus > 1 or rng.random() < 0.6
        self.cpus = [self._cpu(number) for number in range(cpus)]
        self.cpu = self.cpus[0]

    def _cpu(self, number: int) -> Cpu:
        rng, data = self.rng, self.code + 0x10_0000
        cpu = Cpu(self.mode, number, doubles_gates=self.version.doubles_gates)
        size = 16 if self.is_long else 8
        cpu.idt = (data + rng.choice((0, 0x18, 0x400)), rng.choice((256 * size, 256 * size, 0x81 * size, 48 * size)) - 1)
        cpu.gdt = (data + 0x2000, rng.choice((0x2F, 0x37, 0x47)))
        cpu.task = (0x28, data + 0x3000 + 0x100 * number, 0x67) if self.has_task else (0, 0, 0xFFFF)
        cpu.stack0 = data + 0x2_0000 + 0x8000 * number
        cpu.stacks = {n: data + 0x4_0000 + 0x2000 * n + 0x1_0000 * number for n in (1, 2)}
        handlers = (*range(32), *range(0x20, 0x30), 0x80)
        cpu.gates = {vector: Gate(self.code + 0x8000 + vector * 0x40, dpl=3 * (vector in (3, 4, 0x80))) for vector in handlers}
        if self.is_long and self.has_task and rng.random() < 0.5:
            cpu.gates[DF] = replace(cpu.gates[DF], stack=1)
        if self.mode is not Mode.FLAT:
            cpu.cr3 = rng.randrange(0x100, 0x8000) * PAGE
            cpu.cr4 = (PAE if self.mode in (Mode.PAE, Mode.LONG) else 0) | (SMEP if rng.random() < 0.25 else 0) | 0x200
            nxe = NXE if self.mode is not Mode.PAGED and rng.random() < 0.5 else 0
            cpu.efer = (LME | LMA if self.is_long else 0) | nxe
            cpu.away = [(0, PAGE - 1)] if rng.random() < 0.7 else []
        self.in_kernel(cpu)
        return cpu

    def in_kernel(self, cpu: Cpu) -> None:
        """Let the kernel's own code run, at some depth of the stack."""
        cpu.cpl, cpu.base = 0, 0
        cpu.rip = self.code + self.rng.randrange(0x7000)
        cpu.rsp = cpu.stack0 + 0x8_0000 - self.rng.randrange(0x20, 0x200) * self.word
        cpu.flags = 2 if self.is_early else 2 | IF

    def in_user(self, cpu: Cpu) -> None:
        """Let a program run."""
        cpu.cpl, cpu.rip, cpu.rsp, cpu.flags = 3, 0x40_0000 + self.rng.randrange(0x8000), 0x7FFF_0000 - self.rng.randrange(0x800) * 8, 2 | IF

    def somewhere(self, cpu: Cpu) -> None:
        """Let either run."""
        if self.has_task and self.rng.random() < 0.35 and self.mode is not Mode.FLAT:
            self.in_user(cpu)
        else:
            self.in_kernel(cpu)

    def live(self, most: int) -> None:
        """Let this and that happen, all of which is survived."""
        for _ in range(self.rng.randrange(most)):
            cpu = self.rng.choice(self.cpus)
            self.somewhere(cpu)
            self.rng.choice((self.tick, self.tick, self.demand, self.trap, self.call, self.switch, self.nest, self.emulate))(cpu)

    def _survive(self, cpu: Cpu, act: Callable[[], bool]) -> bool:
        """Let something happen and be handled; return whether it was."""
        before = cpu.snapshot()
        lives = act()
        if lives:
            cpu.rip, cpu.rsp, cpu.cpl, cpu.flags = before.rip, before.rsp, before.cpl, before.flags
        return lives

    def tick(self, cpu: Cpu) -> bool:
        """A device, with interrupts off nothing but an NMI; return whether the machine lives."""
        vector = 2 if not cpu.flags & IF else self.rng.choice((0x20, 0x20, 0x21, 0x2E, 8 if self.rng.random() < 0.2 else 0x20))
        if vector == 2 and self.rng.random() < 0.8:
            return True
        return self._survive(cpu, lambda: self.machine.interrupt(cpu, vector, INTERRUPT))

    def demand(self, cpu: Cpu) -> None:
        """A page that is brought in when it is first touched."""
        if cpu.pages:
            self._survive(cpu, lambda: self.fault(cpu, 0x5000_0000 + self.rng.randrange(0x1000) * 0x1008))

    def fault(self, cpu: Cpu, cr2: int, access: str | None = None) -> bool:
        """Raise a page fault."""
        access = access or self.rng.choice(("read", "write", "write"))
        return self.machine.raise_(cpu, PF, cpu.page_error(access, self.rng.random() < 0.2), cr2, access)

    def trap(self, cpu: Cpu) -> None:
        """A debugger's breakpoint."""
        self._survive(cpu, lambda: self.machine.interrupt(cpu, 3, INT))
        cpu.rip += 1

    def call(self, cpu: Cpu) -> None:
        """A system call."""
        if cpu.idt[1] >= 0x81 * (16 if self.is_long else 8) - 1:
            self._survive(cpu, lambda: self.machine.interrupt(cpu, 0x80, INT))

    def switch(self, cpu: Cpu) -> None:
        """Another process."""
        if cpu.pages:
            cpu.cr3 = self.rng.randrange(0x100, 0x8000) * PAGE

    def emulate(self, cpu: Cpu) -> None:
        """An instruction that the handler does for the CPU; at times in a loop."""
        for _ in range(1 if self.rng.random() < 0.9 else self.rng.randrange(RUN, 40)):
            self._survive(cpu, lambda: self.machine.raise_(cpu, 6))
        cpu.rip += 4

    def nest(self, cpu: Cpu) -> None:
        """A page fault in the handler of another exception."""
        if not cpu.pages:
            return
        before = cpu.snapshot()
        self.machine.raise_(cpu, self.rng.choice(BENIGN))
        self.step_in(cpu)
        self._survive(cpu, lambda: self.fault(cpu, 0x6000_0000 + self.rng.randrange(0x1000) * 8))
        cpu.rip, cpu.rsp, cpu.cpl, cpu.flags = before.rip, before.rsp, before.cpl, before.flags

    def step_in(self, cpu: Cpu) -> None:
        """Let the handler go on for a while."""
        cpu.rip += self.rng.randrange(1, 0x3F)
        cpu.rsp -= self.rng.randrange(1, 0x20) * self.word

    def end(self) -> None:
        """Bring it to an end, of whatever kind."""
        self.cpu = self.rng.choice(self.cpus)
        ends = [self.go_on, self.undelivered, self.undelivered, self.undelivered, self.no_idt, self.last_words, self.inner]
        if self.mode is not Mode.FLAT:
            ends += [self.storm, self.retry]
        chosen = self.rng.choice(ends)
        self.boot.ends = chosen.__name__
        chosen()

    def go_on(self) -> None:
        """Code runs on: evidence, if interrupts are on."""
        for _ in range(self.rng.randrange(3)):
            cpu = self.rng.choice(self.cpus)
            self.in_kernel(cpu)
            cpu.rsp = cpu.stack0 + 0x8_0000 - self.rng.randrange(0x10) * self.word
            if not self.tick(cpu):
                return

    def last_words(self) -> None:
        """An exception that is delivered, and nothing comes after it."""
        self.somewhere(self.cpu)
        self.strike(self.cpu)

    def strike(self, cpu: Cpu) -> bool:
        """Raise any event; return whether the machine lives."""
        rng = self.rng
        kind = rng.choice((EXCEPTION,) * 4 + (INT, INTERRUPT))
        if kind == INT:
            return self.machine.interrupt(cpu, rng.choice((3, 0x80, 0x80, 14, 0x30)), INT)
        if kind == INTERRUPT:
            cpu.flags |= IF
            return self.machine.interrupt(cpu, rng.choice((0x20, 0x21, 8, 9, 14 if self.version.services else 9)), INTERRUPT)
        vector = rng.choice((0, GP, GP, *BENIGN, *((PF,) * 6 if cpu.pages else ())))
        if vector != PF:
            error = rng.choice((0, 0, 0x10, 0x68, 0x33 * 8 + 4)) if vector == GP else 0
            return self.machine.raise_(cpu, vector, error)
        access = rng.choice(("read", "write", "fetch"))
        if access == "fetch":
            cpu.rip = rng.choice((0, 0x7000_0000, self.code + 0x9_0000)) + rng.randrange(0xFF0)
            straddles = rng.random() < 0.2
            cr2 = cpu.rip | PAGE - 1 if straddles else cpu.rip + cpu.base
            cpu.rip = cr2 - rng.randrange(1, 12) if straddles else cpu.rip
            cr2 += straddles
        else:
            cr2 = rng.choice((0, 0x45, 0xB8000, self.code - 0x2_0000, 0x7FFF_FFF8)) + rng.randrange(4)
        return self.fault(cpu, cr2 & (1 << (64 if self.is_long else 32)) - 1, access)

    def no_idt(self) -> None:
        """Nobody has loaded an IDT."""
        self.cpu.idt = (0, self.rng.choice((0, 0x3FF, 0xFFFF)))
        self.cpu.gates = {}
        self.somewhere(self.cpu)
        self.strike(self.cpu)

    def undelivered(self) -> None:
        """Something of what delivery needs is broken."""
        cpu, rng = self.cpu, self.rng
        self.somewhere(cpu)
        choice = rng.choice(("gates", "gates", "limit", "idt", "gdt", "stack", "task", "short", "wild", "user"))
        if choice == "gates":
            flaw = rng.choice(list(Flaw))
            broken = rng.choice((set(cpu.gates), {DF, GP, NP, SS, TS, PF}, set(cpu.gates) - {DF}, {PF, DF}, {3, 0x80, 0x20, 6, GP, NP}))
            cpu.gates = {v: replace(gate, flaw=flaw) if v in broken else gate for v, gate in cpu.gates.items()}
        elif choice == "limit":
            cpu.idt = (cpu.idt[0], rng.choice((0, 7, DF * 8 - 1, PF * 8 - 1, 0x1FF)))
        elif choice == "user":
            cpu.gates = {vector: replace(gate, dpl=0) for vector, gate in cpu.gates.items()}
        elif choice == "short":
            cpu.task = (cpu.task[0], cpu.task[1], 3)
        elif choice == "wild" and self.is_long:
            self.in_kernel(cpu)
            cpu.rsp = 0x8000_0000_0000 + rng.randrange(0x1_0000) * 0x1_0000
        elif cpu.pages:
            places = {
                "idt": (cpu.idt[0], cpu.idt[0] + rng.choice((0xFFF, 0x6F))), "gdt": (cpu.gdt[0], cpu.gdt[0] + 0xFFF),
                "task": (cpu.task[1], cpu.task[1] + 0x67), "wild": (cpu.idt[0] + 0x40, cpu.idt[0] + 0x8F),
                "stack": (cpu.rsp - 0x800, cpu.rsp - 1) if not cpu.cpl else (cpu.stack0 - 0x800, cpu.stack0 - 1),
            }  # fmt: skip
            cpu.away.append(places[choice])
        self.boot.ends += f": {choice}"
        if self.strike(cpu) and rng.random() < 0.3:
            self.go_on()

    def inner(self) -> None:
        """The handler of an exception does not come to its end."""
        cpu = self.cpu
        self.somewhere(cpu)
        if not self.machine.raise_(cpu, self.rng.choice((6, 7, GP))):
            return
        outer = self.machine.happened[-1]
        self.step_in(cpu)
        if self.rng.random() < 0.5:
            cpu.gates = {}
        at = len(self.machine.happened)
        self.machine.raise_(cpu, self.rng.choice((0, 6, GP)))
        first = self.machine.happened[at]
        if isinstance(outer, Happening) and isinstance(first, Happening):
            self.boot.nested[id(first)] = outer

    def storm(self) -> None:
        """The handler of page faults cannot be fetched, or its stack comes to an end."""
        cpu, rng = self.cpu, self.rng
        self.somewhere(cpu)
        is_fixed = self.is_long and self.has_task and rng.random() < 0.4
        handler = cpu.gates[PF].handler
        cpu.gates[PF] = Gate(handler, stack=2 * is_fixed)
        cpu.away.append((handler & ~0xF, handler | 0xF))
        lives = self.fault(cpu, 0x45, "read")
        if rng.random() < 0.5 and not is_fixed:
            cpu.away.append((cpu.rsp - 0x3000, cpu.rsp - 48 * rng.randrange(RUN + 1, 40)))
        for _ in range(rng.randrange(RUN, 60)):
            lives = lives and self.machine.raise_(cpu, PF, cpu.page_error("fetch"), handler, "fetch")
            if not lives or cpu.rip != handler:
                return

    def retry(self) -> None:
        """The handler returns without a mend."""
        cpu = self.cpu
        self.somewhere(cpu)
        error, cr2 = cpu.page_error("write"), 0xDEAD_0000
        for _ in range(self.rng.randrange(2, 40)):
            self._survive(cpu, lambda: self.machine.raise_(cpu, PF, error, cr2, "write"))


def invent(rng: Random, version: Version) -> Tale:
    """Return a random tale."""
    tale = Tale(cpus=rng.choice((1, 1, 1, 2)))
    idle = tuple(at_reset() for _ in range(tale.cpus))
    tale.told.append(Reset(idle, rng.choice((1, 2))))
    is_bios, after_death = rng.random() < 0.5, False
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        if after_death and is_bios and rng.random() < 0.7:
            _trick(tale, version)
        boot = Boot(len(tale.boots))
        tale.boots.append(boot)
        _firmware(rng, tale, boot, is_bios)
        guest = Guest(rng, version, boot, tale.cpus)
        guest.live(12)
        guest.end()
        happened = guest.machine.happened
        tale.told += happened
        after_death = isinstance(happened[-1], Died) if happened else False
        if not after_death:  # only what dies, or asks for it, begins anew
            if rng.random() < 0.6:
                break
            boot.ends += ", then a reset"
        tale.told.append(Reset(tuple(cpu.snapshot() for cpu in guest.cpus), 1, boot.number))
    if isinstance(tale.told[-1], Reset) and rng.random() < 0.5:
        tale.told.pop()  # -no-reboot
    return tale


def _firmware(rng: Random, tale: Tale, boot: Boot, is_bios: bool) -> None:
    """What comes before the guest's own code."""
    if not is_bios:
        return
    real = at_reset()
    real.rip, real.rsp, real.idt = 0x9000, 0x6F00, (0, 0x3FF)
    if rng.random() < 0.3:
        tale.told.append(Smm(replace(real, smm=True), boot.number))
    for _ in range(rng.randrange(4)):
        tale.told.append(Happening(INTERRUPT, rng.choice((8, 9)), 0, real.snapshot(), is_real=True, boot=boot.number))
    if rng.random() < 0.1:
        tale.told.append(Happening(EXCEPTION, 6, 0, real.snapshot(), 0xFFFF_FFFF, 6, is_real=True, boot=boot.number))


def _trick(tale: Tale, version: Version) -> None:
    """SeaBIOS resets the machine by an INT3 without an IDT."""
    boot = Boot(len(tale.boots), "SeaBIOS' own reset", is_trick=True)
    tale.boots.append(boot)
    cpu = Cpu(Mode.FLAT, rip=0xEFB0A, rsp=0x6F4C, idt=(0xF61BE, 0), gdt=(0xF6180, 0x37), doubles_gates=version.doubles_gates)
    machine = Machine(boot.number)
    machine.interrupt(cpu, 3, INT)
    tale.told += [*machine.happened, Reset((cpu.snapshot(), *(at_reset() for _ in range(tale.cpus - 1))), 1, boot.number)]
