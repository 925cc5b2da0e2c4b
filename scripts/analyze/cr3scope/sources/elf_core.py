"""An ELF core of QEMU's ``dump-guest-memory``: memory by ``p_paddr``, registers in notes."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from cr3scope.errors import UnusableInput
from cr3scope.paging.cpu import CR0_PG, CpuState
from cr3scope.sources.physical_memory import Data, PhysicalMemory, Run
from cr3scope.sources.source import Overrides, Source

MAGIC = b"\x7fELF"
_NOTE_NAME = "QEMU"
# QEMU's struct QEMUCPUState (target/i386/arch_dump.c), version 1: version and size, 18 registers
# of 8 bytes, 10 segments of 24, then cr0 .. cr4.
_NOTE_HEAD = struct.Struct("<II")
_CONTROL = struct.Struct("<5Q")
_CONTROL_AT = 8 + 18 * 8 + 10 * 24
_MOST_NAMED = 4


def open_core(data: Data, path: str, overrides: Overrides) -> Source:
    """The address space of the first CPU in the core, or of the one with the CR3 that is named;
    UnusableInput if there is none."""
    runs, notes, is_cut = _parse(data, path)
    if not runs:
        raise UnusableInput(f"{path}: the core holds no memory (no PT_LOAD segment)")
    warnings = ["the file is cut: a part of the memory is missing"] if is_cut else []
    cpus = [found for found in map(_control_registers, notes) if found is not None]
    if cpus:
        cpu = _choose(cpus, overrides.cr3)
        warnings += _about_cpus(cpus, cpu, overrides.cr3)
    elif overrides.cr3 is not None:
        cpu = CpuState(cr3=overrides.cr3)
    else:
        raise UnusableInput(f"{path}: the core has no QEMU note with CR3; give --cr3")
    cpu = overrides.apply(cpu)
    warnings += overrides.assumed(cpu, *(("efer",) if cpus else ("cr4", "efer")))
    container = "cut ELF core" if is_cut else "ELF core"
    return Source(container, PhysicalMemory(data, runs), cpu, None, tuple(warnings))


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
        told = [f"{root:#x} (CPU {number})" for root, number in list(others.items())[:_MOST_NAMED]]
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        yield (
            f"CPU {cpus.index(chosen)} is looked at; others have other tables:"
            f" CR3 {', '.join(told)}{more} (see --cr3)"
        )


def _parse(data: Data, path: str) -> tuple[list[Run], list[bytes], bool]:
    from elftools.elf.elffile import ELFFile

    size = len(data)
    runs: list[Run] = []
    notes: list[bytes] = []
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
                notes.extend(_qemu_notes(segment))
    except UnusableInput:
        raise
    except Exception as error:  # pyelftools raises many kinds on a broken file
        raise UnusableInput(f"{path}: a broken ELF core: {error}") from error
    return [run for run in runs if run.length], notes, is_cut


def _qemu_notes(segment: Any) -> list[bytes]:
    return [
        note["n_descdata"] for note in segment.iter_notes() if note["n_name"] == _NOTE_NAME
    ]


def _control_registers(note: bytes) -> CpuState | None:
    """The state of one CPU; None if the note is of another version. EFER and PAT are not in it."""
    if len(note) < _CONTROL_AT + _CONTROL.size or _NOTE_HEAD.unpack_from(note)[0] != 1:
        return None
    cr0, _, _, cr3, cr4 = _CONTROL.unpack_from(note, _CONTROL_AT)
    return CpuState(cr3=cr3, cr0=cr0, cr4=cr4)
