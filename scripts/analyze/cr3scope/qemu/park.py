"""Asks a guest that stands still whether its own code keeps it there on purpose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cr3scope.model.counting import counts
from cr3scope.model.parked import Park, park_of
from cr3scope.qemu.paused_guest import stopped_cpus
from cr3scope.qemu.saved_memory import Monitor
from cr3scope.target.memory import MemoryUnavailable
from cr3scope.target.standstill import Look, by_cpu, halts_for_ever, is_spinning, moves, place, waits_to_be_started
from cr3scope.target.stopped_cpu import StoppedCpu, widened
from cr3scope.x86.decode.expected_memory import Read

_BYTE = re.compile(r" 0x([0-9a-f]{2})\b")
_WINDOW = 64  # bytes that are read at once
_FIRMWARE = (range(0xC0000, 0x100000), range(0xFF000000, 1 << 32))  # option ROMs and the BIOS; the flash
_TRANSLATES = "Translation buffer state"  # `info jit`, of TCG alone


def parked(monitor: Monitor, cpus: Sequence[StoppedCpu] = ()) -> Park | None:
    """Return how the first CPU is parked; None if it is not, or that is not certain, or another one has more to do.

    ``cpus``: those of a paused guest; asked for where there are none. MemoryUnavailable if QEMU does not answer.
    """
    first, *others = sorted(cpus or stopped_cpus(monitor), key=lambda cpu: cpu.number)
    if not all(_is_not_started(cpu) or _park(monitor, cpu) for cpu in others):
        return None
    return _park(monitor, first)


def is_emulated(monitor: Monitor) -> bool:
    """Return whether QEMU itself executes the guest, and so logs each of its exceptions; false if it does not tell."""
    try:
        return _TRANSLATES in monitor.monitor("info jit")
    except MemoryUnavailable:
        return False


def may_end(monitor: Monitor, looks: Sequence[Look]) -> bool:
    """Return whether a CPU that spins in all looks may come out of its loop by itself: it counts, or what it reads moves.

    MemoryUnavailable if QEMU does not answer.
    """
    for number, seen in enumerate(by_cpu(looks)):
        if not is_spinning(seen, interrupted=False):
            continue
        bits = 32 if "EIP" in seen[0] else 64
        if moves(seen) or counts(_reader(monitor, number), [place(each) for each in seen], bits):
            return True
    return False


def _is_not_started(cpu: StoppedCpu) -> bool:
    """Whether nobody but the firmware has made a CPU do anything: SeaBIOS leaves it halted in its own protected mode."""
    halts_there = halts_for_ever(cpu.registers) and any(place(cpu.registers) in each for each in _FIRMWARE)
    return waits_to_be_started(cpu.registers) or halts_there


def _park(monitor: Monitor, cpu: StoppedCpu) -> Park | None:
    cpu = replace(cpu, registers=widened(cpu.registers))
    if any(cpu.pc in each for each in _FIRMWARE):
        return None
    return park_of(_reader(monitor, cpu.number), cpu.delivery_registers, cpu.general, cpu.code_bits, cpu.halted)


def _reader(monitor: Monitor, number: int) -> Read:
    """The memory that a CPU sees, in whatever mode it is: QEMU walks its tables."""
    known: dict[int, bytes] = {}

    def window(at: int) -> bytes:
        if at not in known:
            line = {"command-line": f"x /{_WINDOW}bx {at:#x}", "cpu-index": number}
            told = monitor.execute("human-monitor-command", **line)
            known[at] = bytes(int(byte, 16) for byte in _BYTE.findall(str(told))[:_WINDOW])
        return known[at]

    def read(virt: int, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            at = virt + len(data)
            piece = window(at & -_WINDOW)[at % _WINDOW :]
            if not piece:
                break
            data += piece
        return data[:count] or None

    return read
