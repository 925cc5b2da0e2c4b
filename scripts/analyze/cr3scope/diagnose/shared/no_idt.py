"""Whether anybody has loaded an IDT."""

from __future__ import annotations

BIOS_LIMIT, RESET_LIMIT = 0x3FF, 0xFFFF


def is_no_idt(base: int, limit: int) -> bool:
    """Return whether IDTR holds no more than a reset or the BIOS left there, or nothing."""
    return not limit or not base and limit in (BIOS_LIMIT, RESET_LIMIT)
