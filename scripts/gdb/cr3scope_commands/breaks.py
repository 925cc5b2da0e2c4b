"""`cr3scope break`."""

from __future__ import annotations

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.paging.mov_cr3 import find_mov_cr3
from cr3scope_commands.command import Command, address, show
from cr3scope_commands.images import image_at
from cr3scope_commands.target import stop

_MOST = 4  # DR0 to DR3


class Break(Command):
    """Break before every `mov cr3` of the loaded image that holds the PC, or ADDRESS.

    cr3scope break [ADDRESS]
    Hardware breakpoints: they outlive the firmware's copying, and need no symbols."""

    name, usage = "break", "[ADDRESS]"
    completion = gdb.COMPLETE_EXPRESSION

    def run(self, words: list[str]) -> None:
        if len(words) > 1:
            raise self.misused()
        now = stop()
        image = image_at(now, address(words[0]) if words else now.rip)
        found = [one.offset for one in find_mov_cr3(now.bytes_at(image.base, image.size))]
        if not found:
            raise UnusableInput(f"no mov cr3 in the image at {image.base:#x}")
        for offset in found[:_MOST]:
            gdb.Breakpoint(f"*{image.base + offset:#x}", gdb.BP_HARDWARE_BREAKPOINT)
        if len(found) > _MOST:
            show([f"{len(found)} places; only the first {_MOST} have a hardware breakpoint"])
