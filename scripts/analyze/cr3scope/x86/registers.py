"""The registers that an exception reads and changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

RFLAGS_TRAP, RFLAGS_DIRECTION = 1 << 8, 1 << 10


@dataclass(frozen=True, slots=True)
class Registers:
    """What of the CPU's registers an exception reads and changes."""

    rip: int
    rsp: int
    cs: int
    tr: int
    gdt_base: int
    gdt_limit: int
    idt_base: int
    idt_limit: int
    rflags: int = 0

    @classmethod
    def of(cls, told: Mapping[str, int]) -> Registers:
        """Return the registers by these names, 0 for those that are not among them."""
        return cls(**{field.name: told.get(field.name, 0) for field in fields(cls)})
