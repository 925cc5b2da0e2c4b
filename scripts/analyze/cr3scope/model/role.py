"""What an access of code that is followed is for."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """What an access is for. The words that are shown of it are made in `render/role.py`."""

    NEXT_FETCH = "next-fetch"  # of the first instruction that is followed
    FETCH = "fetch"  # of code that goes on in another page
    ENTRY = "entry"  # the first jump to another page
    READ = "read"
    WRITE = "write"
    STACK_READ = "stack-read"
    STACK_WRITE = "stack-write"
    GDT_READ = "gdt-read"
    GDT_WRITE = "gdt-write"  # of a descriptor's accessed or busy bit
    INSTRUCTION = "instruction"  # no access: the instruction raises an exception by itself
    SWITCH = "switch"  # no access: `mov cr3` itself is refused

    @property
    def is_stack(self) -> bool:
        """Return whether the access goes through RSP."""
        return self in (Role.STACK_READ, Role.STACK_WRITE)

    @property
    def is_descriptor(self) -> bool:
        """Return whether the CPU reaches for a descriptor table by itself, whatever the CPL (SDM 3A, 5.6)."""
        return self in (Role.GDT_READ, Role.GDT_WRITE)
