"""Interrupts that are on across the switch."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.exceptions import FIRST_INTERRUPT
from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.machine.snapshot import INTERRUPTS_ON
from cr3scope.paging.cpu import CpuState
from cr3scope.predict.delivery import Delivery, Registers
from cr3scope.predict.descriptors import GATE_BYTES, Gate
from cr3scope.predict.machine import carry
from cr3scope.rules import BY_ID
from cr3scope.verdict import Finding

_VECTORS = 256
_RPL = 3


def fatal_interrupt(now: StoppedCpu, cpu: CpuState, registers: Registers) -> Finding | None:
    """Of an interrupt that comes before the next instruction: what the tables of ``cpu`` refuse to its
    delivery. None if interrupts are off, or delivery works, or no gate tells which one could come;
    from user mode nothing is told.
    """
    if not registers.rflags & INTERRUPTS_ON or registers.cs & _RPL:
        return None
    vector = _first_gate(now, registers)
    if vector is None:
        return None
    chain = carry(Delivery(now, cpu, now, now.platform), vector, registers)
    first = next((raised for raised in chain.faults if raised.fault is not None), None)
    if first is None or first.fault is None:
        return None
    ends = f"; it ends as {chain.ends.value}" if chain.ends else ""
    words = f"interrupts are on across the switch, and the next one is fatal{ends}"
    finding = BY_ID["missing-cli"].finding(words, "\n".join(chain.words))
    return replace(finding, entry=next(iter(first.fault.guilty), None))


def _first_gate(now: StoppedCpu, registers: Registers) -> int | None:
    """The first interrupt that somebody has made a gate for, by the current tables."""
    count = min(_VECTORS, (registers.idt_limit + 1) // GATE_BYTES)
    data = now.bytes_at(registers.idt_base, count * GATE_BYTES)
    for vector in range(FIRST_INTERRUPT, len(data) // GATE_BYTES):
        if Gate.decode(data[GATE_BYTES * vector : GATE_BYTES * (vector + 1)]).present:
            return vector
    return None
