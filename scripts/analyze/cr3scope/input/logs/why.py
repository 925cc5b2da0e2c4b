"""The reasons why an event cannot be delivered, which a log shows or states."""

from __future__ import annotations

from enum import Enum


class Why(Enum):
    """Why an event could not be delivered; the value is the word in JSON."""

    NO_IDT = "no-idt"
    BEYOND_IDT = "beyond-idt-limit"
    GATE_NOT_PRESENT = "gate-not-present"
    GATE_BAD = "gate-bad"
    GATE_BAD_OR_PRIVILEGED = "gate-bad-or-privileged"  # of an INT instruction in user mode: its DPL counts (7.12.1.1)
    NULL_SELECTOR = "null-selector"
    BEYOND_GDT = "beyond-gdt-limit"
    BAD_SELECTOR = "bad-selector"
    SEGMENT_NOT_PRESENT = "segment-not-present"
    NO_TSS = "no-tss"
    IDT_UNMAPPED = "idt-unmapped"
    GDT_UNMAPPED = "gdt-unmapped"
    TSS_UNMAPPED = "tss-unmapped"
    STACK_UNMAPPED = "stack-unmapped"
    STACK_BAD = "stack-bad"
    HANDLER_UNMAPPED = "handler-unmapped"
