"""hlt with nothing that could end it."""

from __future__ import annotations

from cr3scope.rules.rule import Rule
from cr3scope.verdict import Severity

RULE = Rule(
    id="halted-forever",
    title="halted with interrupts off",
    severity=Severity.ERROR,
    reason=(
        "hlt ends with an interrupt. With RFLAGS.IF=0 only an NMI or an SMI is left, and "
        "neither comes. Kernels stop so on purpose after a panic; else the cli before it is "
        "the mistake."
    ),
    shows="Nothing at all: no exception, the log just ends.",
    fix=(
        "If this is the kernel's own way to stop, look at what it said before; else set IF "
        "before the hlt."
    ),
    manual="Intel SDM volume 2A, HLT; volume 3A, 7.8.1",
)
