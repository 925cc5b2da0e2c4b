"""The registers of the local APIC as MSRs (Intel SDM volume 3A, 12.12.1 and 12.12.9)."""

from __future__ import annotations

_FIRST_MSR, _LAST_MSR = 0x800, 0x8FF
ICR = 0x830  # one MSR: 63:32 the destination, 31:0 the command
_ICR_RESERVED = 0xFFF33000  # 31:20, 17:16, 13 and 12, where the xAPIC's has the delivery status


def is_x2apic(msr: int) -> bool:
    """Return whether an MSR is one that answers in x2APIC mode alone: any access in another raises #GP(0)."""
    return _FIRST_MSR <= msr <= _LAST_MSR


def reserved_of_icr(value: int) -> int:
    """Return the reserved bits that are set in what is written to the ICR."""
    return value & _ICR_RESERVED
