"""A CR3 with bits that no physical address has."""

from __future__ import annotations

from cr3scope.rules.rule import Rule
from cr3scope.verdict import Severity

RULE = Rule(
    id="cr3-reserved",
    title="CR3 with reserved bits",
    severity=Severity.ERROR,
    reason=(
        "Bits from MAXPHYADDR up must be zero in CR3 (bit 63 alone may be set, with "
        "CR4.PCIDE, to spare the TLB). Often the virtual address of the table was loaded."
    ),
    shows="v=0d at the mov on hardware. QEMU's TCG repeats the mov without end and logs nothing.",
    fix="Load the physical address of the top table.",
    manual="Intel SDM volume 3A, 2.5 and 5.4.1",
)
