"""A dump in a capture as a source."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.errors import UnusableInput
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot, Capture, Dump
from cr3scope.input.sources.source import DUMPS, Overrides, Source
from cr3scope.x86.cpu_state import CpuState

# Under which of the recorded states a dump was in force.
_STATE = {"old": "entry", "new": "handoff", "after": "handoff"}


def open_dump(data: bytes, path: str, overrides: Overrides, wanted: str) -> Source:
    """Return a dump of the last boot that has it, as a source; UnusableInput if no boot has."""
    capture = read_capture(data, path)
    boot, dump = _find(capture, path, overrides.cr3, wanted)
    warnings = _damage(capture)
    record = boot.cpus.get(_STATE.get(dump.id, "handoff"))
    if record is None:
        warnings.append("the capture does not tell the CPU's state: defaults are assumed")
    cpu = cpu_state(record) if record else CpuState(cr3=dump.cr3)
    cpu = overrides.apply(replace(cpu, cr3=dump.cr3).with_depth(dump.levels))
    if dump.unreadable:
        warnings.append(f"{len(dump.unreadable)} table pages could not be read by the writer")
    container = f"dump `{dump.id}` of the capture"
    return Source(container, DumpTables(dump), cpu, boot, tuple(warnings), record is not None, dump.id)


def _find(capture: Capture, path: str, cr3: int | None, wanted: str) -> tuple[Boot, Dump]:
    """With CR3 given, the wanted dump or else any other that holds its table."""
    for name in (wanted, *DUMPS) if cr3 is not None else (wanted,):
        for boot in reversed(capture.boots):
            dump = boot.dumps.get(name)
            if dump and (cr3 is None or _root(cr3) in dump.tables):
                return boot, dump
    if cr3 is not None:
        raise UnusableInput(f"{path}: no dump of the capture holds a table at CR3 {cr3:#x}")
    there = sorted({name for boot in capture.boots for name in boot.dumps})
    has = f"it has {', '.join(there)}" if there else "it has none"
    raise UnusableInput(f"{path}: no intact dump `{wanted}` in the capture ({has})")


def _root(cr3: int) -> int:
    return CpuState(cr3).root


def _damage(capture: Capture) -> list[str]:
    if not capture.damage:
        return []
    first = capture.damage[0]
    more = f" (and {len(capture.damage) - 1} more)" if len(capture.damage) > 1 else ""
    return [f"the capture is damaged: line {first.line}: {first.message}{more}"]
