"""Paging without long mode over tables of long mode."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import PROTECTED

RULE = Rule(
    id="long-mode-off",
    title="paging is on, long mode is not",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "The mov to CR0 that sets PG enters long mode only if CR4.PAE and EFER.LME are set by then. Without "
        "LME the CPU takes the same tables for those of 32-bit code: the PML4 becomes a PDPT of four "
        "entries, and the next fetch goes anywhere."
    ),
    shows="v=0e or v=0d right behind the mov to CR0; the dump shows EFER without LMA (400h).",
    fix=(
        "In this order: CR4.PAE=1 (bit 5), CR3, EFER.LME=1 (MSR C0000080h, bit 8), CR0.PG=1 (bit 31), then a "
        "far jump to a 64-bit code segment."
    ),
    manual="Intel SDM volume 3A, 5.1.1, 5.1.2 and 11.8.5",
)
