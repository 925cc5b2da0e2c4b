"""``cr3scope analyze`` of an ELF core: what its CPU is about to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.load_address import base_from_switch
from cr3scope.images.symbols import Symbols
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Capture
from cr3scope.input.sources.elf_core import Core
from cr3scope.input.sources.open import open_core_file
from cr3scope.target.core_cpu import stopped_cpu
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.verdict.analysis import symbols_of_boot
from cr3scope.verdict.stopped import judge_stopped
from cr3scope.verdict.traced import Trace
from cr3scope.verdict.types import Verdict
from cr3scope.x86.decode.instruction import can_decode


def judge_core(path: Path, elf_files: Sequence[ElfFile]) -> Verdict:
    """Return the verdict on what the core's CPU is about to do; UnusableInput if the core does not tell enough."""
    if not can_decode():
        raise UnusableInput(f"{path}: a core is judged by its code, which takes python3-capstone")
    core = open_core_file(path)
    now = stopped_cpu(core, str(path))
    # What the loader told of the boot, as `cr3scope save` put it into the core.
    capture = read_capture(core.trace, f"{path}: the trace in it") if core.trace else Capture()
    symbols = symbols_of_boot(capture, elf_files)
    trace = Trace(capture, symbols) if core.trace else None
    if elf_files:
        _place_files(now, symbols)
    place = partial(symbols.place, "RIP") if elf_files else None
    return judge_stopped(now, lambda: _notes(core, now, trace), now.absent, trace, symbols, place).verdict


def _notes(core: Core, now: StoppedCpu, trace: Trace | None) -> Iterator[str]:
    if trace is not None and not trace.is_of(now):
        yield "the core holds a trace, but of no plan of this switch: judged without it"
    if now.absent:
        more = f" and {len(now.absent) - 1} more places" if len(now.absent) > 1 else ""
        yield f"the core does not hold the memory at {min(now.absent):#x}{more}, which the verdict needs"
    yield from core.warnings
    if core.words.efer is None:
        yield f"the core does not tell EFER: {now.cpu.efer:#x} is assumed"
    if len(core.cpus) > 1:
        yield f"judged is CPU {now.number} of {len(core.cpus)}"


def _place_files(now: StoppedCpu, symbols: Symbols) -> None:
    """A relocatable file lies where its code behind the switch is the code at the PC."""
    switch = switch_at_pc(now)
    for twin in list(symbols.unplaced()) if switch else ():
        base = base_from_switch(twin, now.rip + switch.length) if switch else None
        if base is not None:
            symbols.put(twin, base)
