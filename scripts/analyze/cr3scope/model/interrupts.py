"""Interrupts that are on across the switch."""

from __future__ import annotations

from cr3scope.model.delivery import Delivery
from cr3scope.model.machine import Chain, carry
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import RFLAGS_IF, CpuState
from cr3scope.x86.descriptors import Gate
from cr3scope.x86.exceptions import FIRST_INTERRUPT
from cr3scope.x86.registers import Registers

_VECTORS = 256


def fatal_interrupt(now: StoppedCpu, cpu: CpuState, registers: Registers) -> Chain | None:
    """Return what an interrupt that comes before the next instruction comes to, if the tables of ``cpu`` refuse it.

    None if interrupts are off, or delivery works, or no gate tells which one could come; from user mode
    nothing is told.
    """
    if not registers.rflags & RFLAGS_IF or registers.cpl:
        return None
    vector = _first_gate(now, registers)
    if vector is None:
        return None
    chain = carry(Delivery(now, cpu, now, now.platform), vector, registers)
    return chain if any(raised.fault is not None for raised in chain.faults) else None


def _first_gate(now: StoppedCpu, registers: Registers) -> int | None:
    """The first interrupt that somebody has made a gate for, by the current tables."""
    if registers.mode is CpuMode.REAL:
        return None
    size = registers.mode.gate_bytes
    count = min(_VECTORS, (registers.idt_limit + 1) // size)
    data = now.bytes_at(registers.idt_base, count * size)
    for vector in range(FIRST_INTERRUPT, len(data) // size):
        if Gate.decode(data[size * vector : size * (vector + 1)]).present:
            return vector
    return None
