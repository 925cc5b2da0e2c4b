"""The exception handlers that the IDT names."""

from __future__ import annotations

from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.descriptors import Gate
from cr3scope.x86.registers import Registers

EXCEPTIONS = 32
_PAGE_FAULTS_FIRST = (14, 13, 8, 6, 12, 11, 10)


def handlers(under: StoppedCpu, registers: Registers) -> dict[int, tuple[int, ...]]:
    """Return the address of each exception handler, with the vectors that lead to it, the likeliest first.

    The gates are read through the tables of ``under``.
    """
    if registers.mode is CpuMode.REAL:  # far pointers, and no gates
        return {}
    size = registers.mode.gate_bytes
    count = min(EXCEPTIONS, (registers.idt_limit + 1) // size)
    data = under.bytes_at(registers.idt_base, count * size)
    found: dict[int, tuple[int, ...]] = {}
    order = sorted(range(len(data) // size), key=_likelihood)
    for vector in order:
        gate = Gate.decode(data[vector * size : (vector + 1) * size])
        if gate.present and not gate.is_task:  # a task's first instruction stands in its TSS
            found[gate.target] = (*found.get(gate.target, ()), vector)
    return found


def _likelihood(vector: int) -> tuple[int, int]:
    rank = _PAGE_FAULTS_FIRST.index(vector) if vector in _PAGE_FAULTS_FIRST else EXCEPTIONS
    return rank, vector
