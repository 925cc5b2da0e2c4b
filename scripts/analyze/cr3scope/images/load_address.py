"""Where a relocatable image was loaded, from where its `mov cr3` has run."""

from __future__ import annotations

from cr3scope.images.elf_twin import ElfTwin
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mov_cr3 import find_mov_cr3


def base_from_switch(twin: ElfTwin, rip: int) -> int | None:
    """Return the base that puts one of the file's `mov cr3` right before ``rip``; None unless it is one only.

    The first instruction after the switch is the first that can fault under the new tables, and images are
    loaded at pages (UEFI 2.10, 7.2): any other instruction gives an uneven base.
    """
    bases = {
        rip - (start + found.offset + found.length)
        for start, code in twin.code()
        for found in find_mov_cr3(code)
    }
    fitting = [base for base in bases if base >= 0 and base % PAGE_BYTES == 0]
    return fitting[0] if len(fitting) == 1 else None
