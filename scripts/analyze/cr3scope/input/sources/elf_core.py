"""An ELF core of QEMU's ``dump-guest-memory``: memory by ``p_paddr``, registers in notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cr3scope import limits
from cr3scope.arrays import Data, integers
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.core_note import OWN_NOTE, QEMU_NOTE, TRACE_NOTE, CoreCpu, read_cpu, read_own
from cr3scope.input.sources.core_words import CoreWords, read_words
from cr3scope.elf.head import CORE, I386, LOAD, NOTE, X86_64, ElfHead, read_head
from cr3scope.elf.notes import Note, read_notes
from cr3scope.input.sources.physical_memory import PhysicalMemory, Run
from cr3scope.input.sources.source import Overrides, Source
from cr3scope.x86.cpu_state import CR0_PG, EFER_LMA, CpuState
from cr3scope.x86.entry import MAX_PHYS_BITS

_MOST_ROOTS, _MOST_TOLD = 4, 4
_LAST_PHYS = np.uint64((1 << MAX_PHYS_BITS) - 1)
_CUT = "the file is cut: a part of the memory is missing"


@dataclass(frozen=True, slots=True)
class Core:
    """A core as it lies in the file. ``words``: what `cr3scope save` adds.

    ``trace``: of the boot, as its sink received it; empty if the core holds none. ``losses``: what of the memory is
    missing. ``unread``: number of each CPU whose registers cannot be read, and why. ``is_long``: QEMU writes a core of x86-64
    where the first CPU is in long mode, 64-bit or compatible, and else one of i386.
    """

    memory: PhysicalMemory
    cpus: Sequence[CoreCpu]
    losses: Sequence[str] = ()
    words: CoreWords = CoreWords()
    trace: bytes = b""
    unread: Sequence[tuple[int, str]] = ()
    is_long: bool = True

    @property
    def efer(self) -> int:
        """Return EFER as the core tells it, or as it is assumed: with NX, and with LMA as the kind of the core tells it."""
        untold = CpuState(cr3=0).efer
        return self.words.efer if self.words.efer is not None else untold if self.is_long else untold & ~EFER_LMA

    @property
    def warnings(self) -> list[str]:
        """Return what of the core is missing or left out, one line each."""
        left_out = [f"the registers of CPU {number} cannot be read, and are left out: {why}" for number, why in self.unread]
        return [*self.losses, *left_out[:_MOST_TOLD]]


def read_core(data: Data, path: str) -> Core:
    """Return what the core holds; UnusableInput if it is no core of an x86 guest, or holds no memory."""
    head = read_head(data, path, "ELF core", with_sections=False)
    _check_kind(head, path)
    runs, losses = _runs(data, head)
    if not runs:
        raise UnusableInput(f"{path}: the core holds no memory (no PT_LOAD segment)")
    notes = list(_notes(data, head, path))
    cpus = list(enumerate(read_cpu(note.contents) for note in notes if note.owner == QEMU_NOTE.encode()))
    own = read_own(_only(notes, OWN_NOTE, path))
    if isinstance(own, str):
        raise UnusableInput(f"{path}: of the core's own note, {own}")
    try:
        memory = PhysicalMemory(data, runs)
    except ValueError as error:
        raise UnusableInput(f"{path}: {error}") from error
    return Core(
        memory, [one for _, one in cpus if not isinstance(one, str)], losses, read_words(own, path), _only(notes, TRACE_NOTE, path),
        [(number, why) for number, why in cpus if isinstance(why, str)], head.machine == X86_64,
    )  # fmt: skip


def open_core(data: Data, path: str, overrides: Overrides) -> Source:
    """Return the address space of the first CPU in the core, or of the one with the CR3 that is named.

    UnusableInput if there is none.
    """
    core = read_core(data, path)
    warnings = core.warnings
    cpus = [one.cpu for one in core.cpus]
    efer = core.words.efer
    if cpus:
        cpu = _choose(cpus, overrides.cr3)
        warnings += _about_cpus(cpus, cpu, overrides.cr3)
    elif overrides.cr3 is not None:
        cpu = CpuState(cr3=overrides.cr3)
    else:
        why = next((f" ({why})" for _, why in core.unread), "")
        raise UnusableInput(f"{path}: the core has no QEMU note with CR3{why}; give --cr3")
    cpu = replace(cpu, cr0=cpu.cr0 | CR0_PG, efer=core.efer)
    shown = core.words.shown_cr3
    if shown is not None:
        cpu = replace(cpu, cr3=shown)
    cpu = overrides.apply(cpu)
    if efer is None:
        warnings += overrides.assumed(cpu, *(("efer",) if cpus else ("cr4", "efer")))
    container = "cut ELF core" if _CUT in core.losses else "ELF core"
    return Source(container, core.memory, cpu, None, tuple(warnings))


def _choose(cpus: Sequence[CpuState], cr3: int | None) -> CpuState:
    """With CR3 named, the registers of the CPU that has it, else of one that pages; with none named, of the first."""
    if cr3 is None:
        return cpus[0]
    pages = next((cpu for cpu in cpus if cpu.cr0 & CR0_PG), cpus[0])
    return next((cpu for cpu in cpus if cpu.cr3 == cr3), pages)


def _about_cpus(cpus: Sequence[CpuState], chosen: CpuState, cr3: int | None) -> Iterator[str]:
    """What the choice leaves out. A CPU that does not page (an AP that waits) has no tables."""
    if not chosen.cr0 & CR0_PG and cr3 is None:
        yield f"paging is off (CR0 {chosen.cr0:#x}) on the CPU whose CR3 is taken"
    others: dict[int, int] = {}
    for number, cpu in enumerate(cpus):
        if cpu.cr0 & CR0_PG and cpu.cr3 != chosen.cr3:
            others.setdefault(cpu.cr3, number)
    if others and cr3 is None:
        told = [f"{root:#x} (CPU {number})" for root, number in list(others.items())[:_MOST_ROOTS]]
        more = f" and {len(others) - _MOST_ROOTS} more" if len(others) > _MOST_ROOTS else ""
        yield (
            f"CPU {cpus.index(chosen)} is looked at; others have other tables:"
            f" CR3 {', '.join(told)}{more} (see --cr3)"
        )


def _check_kind(head: ElfHead, path: str) -> None:
    if head.kind != CORE:
        raise UnusableInput(f"{path}: an ELF file, but no core (e_type {head.kind})")
    if head.machine not in (X86_64, I386):
        raise UnusableInput(f"{path}: a core of another machine (e_machine {head.machine})")


def _runs(data: Data, head: ElfHead) -> tuple[list[Run], list[str]]:
    """What the file holds of each segment, and what is said of what it does not."""
    loads = head.programs[(head.programs["type"] == LOAD) & (head.programs["filesz"] != 0)]
    size = np.uint64(len(data))
    # Kernels that dump themselves give segments that are no RAM an address that no CPU has.
    is_ram = loads["phys"] <= _LAST_PHYS
    left = np.where(loads["offset"] < size, size - loads["offset"].astype(np.uint64), np.uint64(0))
    there = np.minimum(np.minimum(loads["filesz"], left), _LAST_PHYS + np.uint64(1) - loads["phys"])
    losses = []
    if (left < loads["filesz"])[is_ram].any():
        losses.append(_CUT)
    if not is_ram.all():
        losses.append(f"segments that lie beyond all physical addresses are left out: {int((~is_ram).sum())}")
    kept = is_ram & (there > 0)
    columns = (loads["phys"][kept], there[kept], loads["offset"][kept])
    return [Run(*row) for row in zip(*map(integers, columns), strict=True)], losses


def _notes(data: Data, head: ElfHead, path: str) -> Iterator[Note]:
    """Yield each note; nothing of a segment that is cut. UnusableInput past a budget."""
    segments = head.programs[(head.programs["type"] == NOTE) & (head.programs["filesz"] != 0)]
    places = list(zip(integers(segments["offset"]), integers(segments["filesz"]), strict=True))
    whole = [(offset, length) for offset, length in places if offset + length <= len(data)]
    if sum(length for _, length in whole) > limits.CORE_NOTE_BYTES:
        raise UnusableInput(f"{path}: the core's notes have over {limits.CORE_NOTE_BYTES >> 20} MiB: no more are read")
    number = 0
    for offset, length in whole:
        try:
            for note in read_notes(data[offset : offset + length]):
                number += 1
                if number > limits.CORE_NOTES:
                    raise UnusableInput(f"{path}: the core has over {limits.CORE_NOTES} notes: no more are read")
                yield note
        except ValueError as error:
            raise UnusableInput(f"{path}: damaged ELF core: of its notes at {offset:#x}, {error}") from error


def _only(notes: list[Note], name: str, path: str) -> bytes:
    """The contents of our own note; empty if there is none. UnusableInput if two say different things."""
    found = {note.contents for note in notes if note.owner == name.encode()}
    if len(found) > 1:
        raise UnusableInput(f"{path}: the core has {len(found)} notes `{name}` that differ: which one counts is not told")
    return found.pop() if found else b""
