"""What the loader's trace planned for the instant after the switch, beside what the registers hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cr3scope.input.capture.reader import read_capture
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3, switch_at_pc
from cr3scope_commands.target import stop

_SECONDS = 2.0  # until the serial port's reader has written the last record


def compare(log: Path) -> Iterator[str]:
    """Yield a line for each planned value, by the trace in ``log``."""
    now = stop()
    planned = _planned(log)
    held = dict(_held(now))
    if not planned or not held:
        yield "the trace holds no plan of this switch: nothing to compare"
    for name, (where, value) in held.items():
        if name in planned:
            says = "as planned" if planned[name] == value else "NOT as planned"
            yield f"{name.upper()} planned {planned[name]:#x}, {where} {value:#x}: {says}"


def _held(now: StoppedCpu) -> Iterator[tuple[str, tuple[str, int]]]:
    """What the switch will make of each register, and where that is now."""
    switch = switch_at_pc(now)
    if switch is None:
        return
    yield "cr3", (f"{switch.register.upper()} holds", new_cr3(now))
    yield "rsp", ("RSP holds", now.registers.get("RSP", 0))
    yield "rip", ("next is", now.rip + switch.length)
    yield "rdi", ("RDI holds", now.registers.get("RDI", 0))


def _planned(log: Path) -> dict[str, int]:
    """The registers of the handoff, once the records that follow it are there too."""
    until = time.monotonic() + _SECONDS
    while True:
        boots = read_capture(log.read_bytes()).boots
        boot = boots[-1] if boots else None
        record = boot.cpus.get("handoff") if boot else None
        if (boot and record and boot.plan) or time.monotonic() > until:
            break
    return dict(record.registers) if record else {}
