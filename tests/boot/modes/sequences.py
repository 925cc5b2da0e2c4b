"""Random sequences of instructions for the guest of the modes of paging, and what the model foresees of each."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from boot.modes.guest import BACK, CODE, Answer, Cpu, Record
from boot.modes.memory import (
    BACKGROUND, BACKGROUND_END, HIGH, HIGH_FILLED, PAGE, TABLES, TABLES_END, UNIT, Image, UnknownMemory, background,
)  # fmt: skip
from boot.modes.spaces import CR0, LME, WP, Space
from elftools.elf.elffile import ELFFile

from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.model.delivered import Entered, Raised, Unknown
from cr3scope.model.delivery import Delivery
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.cpu_state import EFER_LMA
from cr3scope.x86.descriptors import GATE_BYTES, SHORT_GATE_BYTES, Descriptor
from cr3scope.x86.platform import Platform

_SLOT, _WIDE_SLOT = 192, 256  # bytes of one sequence, in 64-bit code
STACK = 0x11_F800  # RSP at its beginning
HOLE = 0x3000_0000  # no mode maps it
_REGISTERS = ("ax", "bx", "cx", "dx", "si", "di", "bp")
_CS, _SS, _DS, _CS64 = 0x08, 0x10, 0x23, 0x28  # of guest.S
_USER_CS, _USER_CS64 = 0x1B, 0x33
_TASK32, _TASK64 = 0x38, 0x40
_KERNEL_GATES, _OWN_GATES = range(0x40, 0x60), range(0x20, 0x80)  # those of DPL 0, and those of no exception
_GATES, _STUB = BACK + 1, 16
_INT = 0xCD
KERNEL, USER = 0, 3  # rings
_PRIVILEGED = ("hlt", "clts", "invd", "wbinvd", "cli", "sti", "mov %cr0, %{word}ax", "mov %{word}ax, %cr3", "lgdt (%{word}sp)", "lidt (%{word}sp)",
               "rdmsr", "wrmsr", "invlpg (%{word}sp)", "in $0x80, %al", "out %al, $0x80", "insb", "mov %dr7, %{word}bx")  # fmt: skip
_SELECTORS = (0, 0x08, 0x10, 0x13, 0x1B, 0x20, 0x23, 0x28, 0x33, 0x48, 0x50, 0x88)
_LEAST, _MOST = 2, 6  # pieces


class _Pieces:
    """Writes one sequence in GNU's assembly; every push has its pop, and nothing reads what another sequence may have written."""

    def __init__(self, space: Space, chance: random.Random, ring: int) -> None:
        self._space, self._chance = space, chance
        self._word = "r" if space.wide else "e"
        of_ring = (self._loads, self._jumps, self._refused) if ring == KERNEL else (self._privileged, self._privileged)
        self._other: tuple[Callable[[], str], ...] = (
            self._count, self._count, self._read, self._read, self._write, self._pushes, self._calls, self._moves, self._wild, self._both,
            self._stack_memory, self._interrupts, *of_ring,
        )

    def lines(self) -> Iterator[str]:
        """Yield the registers' first values, some pieces, and the way back."""
        for name in _REGISTERS:
            yield f"mov ${self._chance.getrandbits(31)}, %{self._word}{name}"
        yield f"mov ${STACK}, %{self._word}sp"
        for _ in range(self._chance.randint(_LEAST, _MOST)):
            yield self._chance.choice(self._other)()

    def _one(self, but: str = "") -> str:
        return self._chance.choice([name for name in _REGISTERS if name != but])

    def _place(self, offset: int) -> int:
        return self._chance.choice(self._space.places) + self._chance.randrange(PAGE // UNIT - 1) * UNIT + offset

    def _address(self, value: int, name: str) -> str:
        return f"{'movabs' if self._space.wide else 'mov'} ${value:#x}, %{self._word}{name}"

    def _count(self) -> str:
        word, one, other = self._word, self._one(), self._one()
        return self._chance.choice((
            f"add %{word}{one}, %{word}{other}", f"sub %{word}{one}, %{word}{other}", f"xor %e{one}, %e{other}", f"inc %{word}{one}",
            f"lea 5(%{word}{one},%{word}{other},2), %e{self._one()}", f"xchg %{word}{one}, %{word}{other}", f"neg %e{one}",
            f"and $0x0ff0, %e{one}", f"movzwl %{one}, %e{other}", f"not %{word}{one}", f"mov %{one}, %{other}",
        ))  # fmt: skip

    def _read(self) -> str:
        name = self._one()
        return f"{self._address(self._place(1), name)}; movl (%{self._word}{name}), %e{self._one()}"

    def _write(self) -> str:
        name = self._one()
        return f"{self._address(self._place(8), name)}; movl %e{self._one(name)}, (%{self._word}{name})"

    def _both(self) -> str:
        name = self._one()
        how = self._chance.choice(("addl $1, {at}", "notl {at}", "xchgl %eax, {at}", "lock incl {at}", "cmpl $0, {at}"))
        return f"{self._address(self._place(8), name)}; movl $7, (%{self._word}{name}); {how.format(at=f'(%{self._word}{name})')}"

    def _pushes(self) -> str:
        word = self._word
        return f"push %{word}{self._one()}; push ${self._chance.getrandbits(30)}; pop %{word}{self._one()}; pop %{word}{self._one()}"

    def _stack_memory(self) -> str:
        name = self._one()
        size = "q" if self._space.wide else "l"
        place = self._place(8)
        how = self._chance.choice((f"push{size} (%{self._word}{name}); pop %{self._word}{self._one()}", f"push $5; pop{size} (%{self._word}{name})"))
        return f"{self._address(place, name)}; movl $9, (%{self._word}{name}); {how}"

    def _calls(self) -> str:
        return f"call 1f; .byte 0x90; 1: pop %{self._word}{self._one()}"

    def _moves(self) -> str:
        fill = f"{self._address(self._place(8), 'di')}; mov $2, %ecx; cld; rep stosb"
        copy = f"{self._address(self._place(1), 'si')}; {self._address(self._place(8), 'di')}; mov $4, %ecx; cld; rep movsb"
        return self._chance.choice((fill, copy, f"{self._address(self._place(1), 'si')}; cld; lodsb"))

    def _loads(self) -> str:
        register = self._chance.choice(("ds", "es", "fs", "gs", "ss"))
        return f"mov ${self._chance.choice(_SELECTORS)}, %eax; mov %ax, %{register}"

    def _jumps(self) -> str:
        own = _CS64 if self._space.wide else _CS
        selector = own if self._chance.random() < 0.6 else self._chance.choice(_SELECTORS)
        if self._space.wide:
            return f"push ${selector}; lea 1f(%rip), %rdx; push %rdx; lretq; 1:"
        return self._chance.choice((
            f"ljmp ${selector}, $1f; 1:", f"push ${selector}; push $1f; lret; 1:", f"pushf; push ${selector}; push $1f; iret; 1:",
        ))  # fmt: skip

    def _wild(self) -> str:
        name = self._one()
        how = self._chance.choice(("movl {at}, %eax", "movl %eax, {at}", "addl $1, {at}", "call *{at}", "jmp *{at}"))
        return f"{self._address(HOLE + self._chance.randrange(PAGE), name)}; {how.format(at=f'(%{self._word}{name})')}"

    def _refused(self) -> str:
        return self._chance.choice(("ud2", "xor %edx, %edx; xor %ebx, %ebx; div %ebx", f"mov ${self._chance.choice(_SELECTORS)}, %eax; ltr %ax", "nop", "nop"))

    def _interrupts(self) -> str:
        return f"int ${self._chance.choice(_OWN_GATES):#x}"

    def _privileged(self) -> str:
        return self._chance.choice((*_PRIVILEGED, "ud2", "nop", "nop")).replace("{word}", self._word)


class GuestMemory:
    """What a sequence finds: tables, background, the code, and the guest's own GDT. UnknownMemory for all else."""

    def __init__(self, image: Image, guest: Path, code: bytes) -> None:
        self._image, self._code, self._own = image, code, {}
        self._made: dict[int, bytes] = {}  # by the guest, before the first sequence
        with guest.open("rb") as file:
            elf = ELFFile(file)
            self._own = {one["p_paddr"]: one.data() for one in elf.iter_segments() if one["p_type"] == "PT_LOAD"}
            symbols = {one.name: one["st_value"] for one in elf.get_section_by_name(".symtab").iter_symbols()}
        self.gdt = Table(symbols["gdt"], symbols["gdt_end"] - symbols["gdt"] - 1)
        self.tasks = {_TASK32: symbols["task32"], _TASK64: symbols["task64"]}
        self.gates = {
            size: Table(symbols[name], size * _GATES - 1) for size, name in ((SHORT_GATE_BYTES, "idt32"), (GATE_BYTES, "idt64"))
        }  # fmt: skip
        for size, name, selector in ((SHORT_GATE_BYTES, "stubs32", _CS), (GATE_BYTES, "stubs64", _CS64)):
            gates = (_gate(vector, symbols[name] + _STUB * vector, selector).to_bytes(size, "little") for vector in range(_GATES))
            self._made[self.gates[size].base] = b"".join(gates)
        for selector, base in self.tasks.items():
            self._made[self.gdt.base + selector] = _task(base).to_bytes(8, "little")

    def table(self, phys: int) -> npt.NDArray[np.uint64] | None:
        """Return the entries of a table page of the image."""
        return self._image.table(phys)

    def physical(self, phys: int, length: int) -> bytes:
        """Return bytes that are certain."""
        if CODE <= phys < CODE + len(self._code):
            return self._code[phys - CODE :][:length]
        if BACKGROUND <= phys < BACKGROUND_END or HIGH <= phys < HIGH_FILLED:
            return background(phys & -UNIT, (phys + length + UNIT - 1) & -UNIT)[phys % UNIT :][:length]
        if TABLES <= phys < TABLES_END:
            page = self._image.table(phys & -PAGE)
            assert page is not None
            return page.tobytes()[phys % PAGE :][:length]
        for first, data in (*self._made.items(), *self._own.items()):
            if first <= phys < first + len(data):
                return data[phys - first :][:length]
        raise UnknownMemory


def _gate(vector: int, handler: int, selector: int) -> int:
    kind = 0x8E if vector in _KERNEL_GATES else 0xEE
    return handler & 0xFFFF | selector << 16 | kind << 40 | handler >> 16 << 48


def _task(base: int) -> int:
    """A busy TSS below 16 MiB."""
    return 103 | base << 16 | 0x8B << 40


@dataclass(frozen=True)
class Case:
    """A sequence as it was written, its record, and what was foreseen. ``end``: where it goes back if nothing stops it;
    ``interrupt``: the vector of the INT that ends it before, and what comes of that."""

    space: str
    text: str
    record: Record
    seen: CodePrediction
    end: int
    interrupt: tuple[int, Entered | Raised] | None = None

    def differs(self, answer: Answer) -> str:
        """Return what of the answer was foreseen otherwise; "" if nothing was."""
        mask = 0xFFFF_FFFF
        fault, seen = self.seen.fault, self.seen
        came: Sequence[int | None] = (answer.vector, answer.error, answer.cr2, answer.rip, answer.rsp)
        if fault is not None and seen.refused is not None:
            told = (fault.vector, fault.error_code or 0, fault.cr2 or 0, (fault.rip or 0) & mask, seen.refused.registers.rsp & mask)
        elif self.interrupt is not None:
            vector, came_of_it = self.interrupt
            told = (vector, 0, 0, seen.last.rip + 2 & mask, seen.last.rsp & mask)
            if isinstance(came_of_it, Raised):
                told = (came_of_it.vector, came_of_it.error_code, came_of_it.cr2 or 0, seen.last.rip & mask, seen.last.rsp & mask)
        else:
            told = (BACK, 0, 0, self.end + 2 & mask, seen.last.rsp & mask)
        if tuple(came) == told:
            return ""
        return f"{self.space}, CPL {USER * self.record.user}: {self.text}: foreseen {told}, came {came}; cr0 {self.record.cr0:#x} cr4 {self.record.cr4:#x} efer {self.record.efer:#x}"


def sequences(
    folder: Path, image: Image, guest: Path, chosen: Sequence[Space], cpu: Cpu, platform: Platform, count: int, seed: int,
    rings: Sequence[int] = (KERNEL, USER),
) -> tuple[list[Case], bytes]:  # fmt: skip
    """Return ``count`` sequences of each mode that can be followed to their end, in turn in each ring, and the code of all; it lies at CODE."""
    made: list[Case] = []
    code = b""
    for space in chosen:
        chance = random.Random(f"{space.name} {seed}")
        slot = _WIDE_SLOT if space.wide else _SLOT
        written = [rings[number % len(rings)] for number in range(count + count // 2 + 8)]
        texts = ["; ".join(_Pieces(space, chance, ring).lines()) for ring in written]
        data, ends = _assembled(folder, texts, space.wide, CODE + len(code), slot)
        whole = GuestMemory(image, guest, code + data)
        kept = 0
        for number, text in enumerate(texts):
            at = CODE + len(code) + number * slot
            record = Record(CR0 | chance.choice((0, WP)), space.root, space.cr4, space.efer, image.free - PAGE, 0, 2, at, written[number] == USER, space.wide)
            now = _standing(whole, space, record, cpu, platform)
            try:
                seen = predict_code(now)
                interrupt = _interrupt(now, whole, seen) if seen.fault is None and seen.last.rip != ends[number] else None
            except UnknownMemory:
                continue
            if seen.fault is None and seen.last.rip != ends[number] and interrupt is None:
                continue
            made.append(Case(space.name, text, record, seen, ends[number], interrupt))
            kept += 1
            if kept == count:
                break
        code += data
    return made, code


def _interrupt(now: StoppedCpu, memory: GuestMemory, seen: CodePrediction) -> tuple[int, Entered | Raised] | None:
    """The vector of the INT at which a way ends, and what comes of it; None where it ends at something else."""
    code = now.bytes_at(seen.last.rip, 2)
    if code[:1] != bytes([_INT]):
        return None
    idt = memory.gates[now.mode.gate_bytes]
    task = _TASK64 if now.in_long_mode else _TASK32
    held = {**seen.last.segments, "tr": Descriptor(_task(memory.tasks[task])).segment(task)}
    registers = replace(seen.last, idt_base=idt.base, idt_limit=idt.limit, tr=task, segments=held)
    found = Delivery(now, now.cpu, now, now.platform).deliver(code[1], registers, software=True)
    return None if isinstance(found, Unknown) else (code[1], found)


def _standing(memory: GuestMemory, space: Space, record: Record, cpu: Cpu, platform: Platform) -> StoppedCpu:
    selectors = {"CS": _CS64 if space.wide else _CS, "SS": _SS, "DS": _DS, "ES": _DS}
    if record.user:
        selectors |= {"CS": _USER_CS64 if space.wide else _USER_CS, "SS": _DS}
    segments = {
        name: Descriptor(int.from_bytes(memory.physical(memory.gdt.base + (value & ~7), 8), "little")).segment(value)
        for name, value in selectors.items()
    }
    efer = record.efer | (EFER_LMA if record.efer & LME else 0)
    registers: Mapping[str, int] = {"CR0": record.cr0, "CR3": record.cr3, "CR4": record.cr4, "EFER": efer, "RIP": record.address, "RSP": STACK, "RFL": 2}
    return StoppedCpu(
        memory, registers, cpu.max_phys_bits, selectors, None, memory.gdt, code_bits=64 if space.wide else 32, platform=platform,
        segments=segments,
    )  # fmt: skip


def _assembled(folder: Path, texts: Sequence[str], wide: bool, base: int, slot: int) -> tuple[bytes, list[int]]:
    """The bytes of all, each in its slot, and where each ends."""
    source, built, linked, code = (folder / f"sequences.{kind}" for kind in ("S", "o", "elf", "bin"))
    lines = [f".org {number * slot}; {text}; e{number}: int ${BACK:#x}" for number, text in enumerate(texts)]
    source.write_text("\n".join(["_start:", *lines, f".org {len(texts) * slot}", ""]))
    subprocess.run(["as", "--64" if wide else "--32", source, "-o", built], check=True)
    emulation = "elf_x86_64" if wide else "elf_i386"
    subprocess.run(["ld", "-m", emulation, "--no-warn-rwx-segments", "-e", "0", f"-Ttext={base:#x}", "-o", linked, built], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", linked, code], check=True)
    named = subprocess.run(["nm", linked], check=True, capture_output=True, text=True).stdout
    places = {name: int(value, 16) for value, _, name in (line.split() for line in named.splitlines() if line[:1] != " ")}
    return code.read_bytes(), [places[f"e{number}"] for number in range(len(texts))]
