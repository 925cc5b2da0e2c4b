"""An ELF core of QEMU's ``dump-guest-memory``: memory by ``p_paddr``, registers in notes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.core_note import OWN_NOTE, QEMU_NOTE, TRACE_NOTE, CoreCpu, read_cpu, read_own
from cr3scope.input.sources.physical_memory import Data, PhysicalMemory, Run
from cr3scope.input.sources.source import Overrides, Source
from cr3scope.x86.cpu_state import CR0_PG, CpuState

MAGIC = b"\x7fELF"
SHOWN_CR3 = "shown_cr3"  # among the words of a core: whose tables are meant, if nobody names others
_MOST_ROOTS = 4


@dataclass(frozen=True, slots=True)
class Core:
    """A core as it lies in the file. ``words``: those that `cr3scope save` adds.

    ``trace``: of the boot, as its sink received it; empty if the core holds none.
    """

    memory: PhysicalMemory
    cpus: Sequence[CoreCpu]
    is_cut: bool
    words: Mapping[str, str] = field(default_factory=dict)
    trace: bytes = b""

    @property
    def warnings(self) -> list[str]:
        return ["the file is cut: a part of the memory is missing"] if self.is_cut else []

    def word(self, key: str) -> int | None:
        """Return a number among the words; None if it is not there, or is none."""
        try:
            return int(self.words.get(key, ""), 0)
        except ValueError:
            return None


def read_core(data: Data, path: str) -> Core:
    """Return what the core holds; UnusableInput if it is no core of an x86-64 guest, or holds no memory."""
    runs, notes, is_cut = _parse(data, path)
    if not runs:
        raise UnusableInput(f"{path}: the core holds no memory (no PT_LOAD segment)")
    cpus = [read_cpu(note) for name, note in notes if name == QEMU_NOTE]
    own = next((note for name, note in notes if name == OWN_NOTE), b"")
    trace = next((note for name, note in notes if name == TRACE_NOTE), b"")
    known = [one for one in cpus if one is not None]
    return Core(PhysicalMemory(data, runs), known, is_cut, read_own(own), trace)


def open_core(data: Data, path: str, overrides: Overrides) -> Source:
    """Return the address space of the first CPU in the core, or of the one with the CR3 that is named.

    UnusableInput if there is none.
    """
    core = read_core(data, path)
    warnings = core.warnings
    cpus = [one.cpu for one in core.cpus]
    efer = core.word("efer")
    if cpus:
        cpu = _choose(cpus, overrides.cr3)
        warnings += _about_cpus(cpus, cpu, overrides.cr3)
    elif overrides.cr3 is not None:
        cpu = CpuState(cr3=overrides.cr3)
    else:
        raise UnusableInput(f"{path}: the core has no QEMU note with CR3; give --cr3")
    if efer is not None:
        cpu = replace(cpu, efer=efer)
    shown = core.word(SHOWN_CR3)
    if shown is not None:
        cpu = replace(cpu, cr3=shown)
    cpu = overrides.apply(cpu)
    if efer is None:
        warnings += overrides.assumed(cpu, *(("efer",) if cpus else ("cr4", "efer")))
    container = "cut ELF core" if core.is_cut else "ELF core"
    return Source(container, core.memory, cpu, None, tuple(warnings))


def _choose(cpus: Sequence[CpuState], cr3: int | None) -> CpuState:
    """With CR3 named, the registers of the CPU that has it, else of the first."""
    return next((cpu for cpu in cpus if cpu.cr3 == cr3), cpus[0])


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


def _parse(data: Data, path: str) -> tuple[list[Run], list[tuple[str, bytes]], bool]:
    from elftools.elf.elffile import ELFFile

    size = len(data)
    runs: list[Run] = []
    notes: list[tuple[str, bytes]] = []
    is_cut = False
    try:
        elf = ELFFile(io.BytesIO(data) if isinstance(data, bytes) else data)
        kind, machine = elf.header["e_type"], elf.header["e_machine"]
        if kind != "ET_CORE":
            raise UnusableInput(f"{path}: an ELF file, but no core (e_type {kind})")
        if machine != "EM_X86_64":
            words = "a 32-bit guest" if machine == "EM_386" else "another machine"
            raise UnusableInput(f"{path}: a core of {words} (e_machine {machine})")
        for segment in elf.iter_segments():
            offset, length = segment["p_offset"], segment["p_filesz"]
            if segment["p_type"] == "PT_LOAD":
                there = max(min(length, size - offset), 0)
                is_cut = is_cut or there < length
                runs.append(Run(segment["p_paddr"], there, offset))
            elif segment["p_type"] == "PT_NOTE" and length and offset + length <= size:
                notes.extend(_notes(segment))
    except UnusableInput:
        raise
    except Exception as error:  # pyelftools raises many kinds on a broken file
        raise UnusableInput(f"{path}: a broken ELF core: {error}") from error
    return [run for run in runs if run.length], notes, is_cut


def _notes(segment: Any) -> list[tuple[str, bytes]]:
    names = (QEMU_NOTE, OWN_NOTE, TRACE_NOTE)
    notes = ((note["n_name"], note["n_descdata"]) for note in segment.iter_notes())
    return [(name, contents) for name, contents in notes if name in names]
