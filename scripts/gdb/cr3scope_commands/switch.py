"""The `mov cr3` at the PC."""

from __future__ import annotations

from cr3scope.errors import UnusableInput
from cr3scope.paging.mov_cr3 import LONGEST, MovCr3, mov_cr3_at
from cr3scope_commands.target import Stop


def switch_at_pc(now: Stop) -> MovCr3 | None:
    """The switch that the guest is about to make, if it is."""
    return mov_cr3_at(now.bytes_at(now.rip, LONGEST))


def new_cr3(now: Stop) -> int:
    """The value that it will load; UnusableInput if the PC is elsewhere."""
    switch = switch_at_pc(now)
    if switch is None:
        raise UnusableInput(f"no mov cr3 at the PC {now.rip:#x}: see `cr3scope break`")
    return now.registers.get(switch.register.upper(), 0)
