"""A gate of the IDT that the CPU refuses."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule

RULE = Rule(
    id="idt-gate-bad",
    title="a gate of the IDT cannot be used",
    severity=Severity.ERROR,
    reason=(
        "The exception is not the killer: its gate is not present, is no gate, or names a "
        "selector that is no code segment of the GDT. Loaders that keep the firmware's IDT "
        "under their own GDT, or copy gates with another GDT's selector, meet this at the "
        "first exception."
    ),
    shows=(
        "The exception, then v=0d (or v=0b) at the same RIP with the selector, or the vector "
        "* 8 + 2, as its error code."
    ),
    fix="Give the gates the selector of a 64-bit code segment in the GDT that is loaded.",
    manual="Intel SDM volume 3A, 7.13 and 7.14",
)
