"""The 128 bytes below RSP."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule

RULE = Rule(
    id="red-zone",
    title="kernel code uses the red zone",
    severity=Severity.WARNING,
    reason=(
        "The System V convention lets a leaf function keep its variables in the 128 bytes below "
        "RSP. An exception or interrupt at CPL 0 pushes its frame right there, unless its gate has "
        "an IST stack, and the function goes on with the frame's words in its variables. No page "
        "table shows it, so that no capture proves it."
    ),
    shows=(
        "No exception of its own: locals that change from one line to the next, only with "
        "interrupts on, only in optimised leaf functions; later any fault at all. Bites on every "
        "CPU."
    ),
    fix=(
        "Compile everything that runs at CPL 0 with -mno-red-zone, libraries and assembly "
        "included."
    ),
    manual="System V ABI, AMD64 supplement, 3.2.2; Intel SDM volume 3A, 7.14.2",
)
