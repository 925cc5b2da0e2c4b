"""`cr3scope trace`: what the loader told of this boot, for the verdicts of the other commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.source_text import SourceText
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Capture
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3, switch_at_pc
from cr3scope.text import printable
from cr3scope.verdict.analysis import chosen_boot
from cr3scope.verdict.stopped import StoppedVerdict, judge_stopped
from cr3scope.verdict.traced import Trace
from cr3scope.verdict.types import Status
from cr3scope.x86.decode.instruction import can_decode
from cr3scope_commands.command import Command, show
from cr3scope_commands.source_line import line_of, source_text_at
from cr3scope_commands.target import stop

_SECONDS = 2.0  # until the serial port's reader has written the last record
_PIECE = 0.05
_OFF = "off"


class _Given:
    """The file that the person named; of the whole gdb."""

    path: Path | None = None


class TraceCommand(Command):
    """Take what the loader's trace tells into the verdicts of `check`, `step` and `save`.

    cr3scope trace FILE|off
    FILE: what the trace's sink receives, such as QEMU's `-serial file:FILE`; it is read anew at each verdict.
    With it addresses have names, entries the lines that wrote them, and what the loader planned is known; what
    lies in memory is read from the guest. Prints the planned registers beside those that the switch will find."""

    name, usage = "trace", "FILE|off"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.misused()
        if words == [_OFF]:
            _Given.path = None
            return
        path = Path(words[0]).expanduser()
        _read(path)
        _Given.path = path
        if gdb.selected_inferior().pid:
            show(_compared(stop(), path))


def contents() -> bytes:
    """Return the bytes of the trace that was given; none without one."""
    return b"" if _Given.path is None else _bytes(_Given.path)


def judged(now: StoppedCpu) -> StoppedVerdict:
    """Return the verdict on what comes next, with what the trace tells if one of this switch was given.

    ModuleNotFoundError without capstone: of code that was not followed there is no verdict.
    """
    if not can_decode():
        raise ModuleNotFoundError(name="capstone")
    if _Given.path is None:
        return judge_stopped(now)
    lines = _GdbsLines()
    return judge_stopped(now, trace=Trace(_read(_Given.path, now), lines), texts=lines)


def will_fault(now: StoppedCpu) -> bool:
    """Return whether something is wrong with the switch: by the trace if there is one of it, else by the code alone."""
    stopped = judged(now)
    return stopped.verdict.status is Status.WILL_FAULT if stopped.is_told else stopped.seen.fault is not None


class _GdbsLines:
    """The symbols that gdb has, and the texts of the lines that it was asked for."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def line_of_call(self, return_address: int) -> str | None:
        """Return ``file:line`` of the call that returns to this address; None if gdb has no symbols there."""
        line = line_of(return_address - 1)
        if line is not None:
            self._told[line] = return_address - 1
        return line

    def text(self, source: str) -> SourceText | None:
        """Return the text of a line that was told; None where gdb's source path has no such file."""
        return source_text_at(self._told[source]) if source in self._told else None

    def left_out(self) -> tuple[str, ...]:
        """Return nothing: gdb reads the files by itself."""
        return ()


def _compared(now: StoppedCpu, path: Path) -> Iterator[str]:
    """A line for each planned value."""
    boot = chosen_boot(_read(path, now))
    record = boot.cpus.get("handoff") if boot and boot.plan else None
    held = dict(_held(now))
    if record is None or not held:
        yield "the trace holds no plan of this switch: nothing to compare"
        return
    for name, (where, value) in held.items():
        if name in record.registers:
            planned = record.registers[name]
            says = "as planned" if planned == value else "NOT as planned"
            yield f"{name.upper()} planned {planned:#x}, {where} {value:#x}: {says}"


def _held(now: StoppedCpu) -> Iterator[tuple[str, tuple[str, int]]]:
    """What the switch will make of each register, and where that is now."""
    switch = switch_at_pc(now)
    if switch is None:
        return
    yield "cr3", (f"{switch.register.upper()} holds", new_cr3(now))
    yield "rsp", ("RSP holds", now.registers.get("RSP", 0))
    yield "rip", ("next is", now.rip + switch.length)
    yield "rdi", ("RDI holds", now.registers.get("RDI", 0))


def _read(path: Path, now: StoppedCpu | None = None) -> Capture:
    """Return the capture; at a switch once the newest boot's plan is there, too, or the time for that is over.

    UnusableInput if the file cannot be read.
    """
    until = time.monotonic() + _SECONDS
    while True:
        capture = read_capture(_bytes(path), printable(str(path)))
        has_plan = bool(capture.boots and capture.boots[-1].plan)
        if now is None or has_plan or switch_at_pc(now) is None or time.monotonic() > until:
            return capture
        time.sleep(_PIECE)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"{printable(str(path))}: {error.strerror}") from error
