"""QEMU's log of the code that TCG translates: which `mov cr3` a guest came to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.x86.mov_cr3 import MovCr3, mov_cr3_at

COMMAND = "log in_asm,cpu_reset"
_INSTRUCTION = re.compile(r"^0x([0-9a-f]{1,16}):  ((?:[0-9a-f]{2} )+)", re.MULTILINE)
_RESET = re.compile(r"^CPU Reset \(CPU 0\)", re.MULTILINE)


def until_reset(log: str) -> tuple[str, bool]:
    """Return what was logged before the machine started anew, and whether it did."""
    begin = _RESET.search(log)
    return (log[: begin.start()], True) if begin else (log, False)


def switches_in(log: str) -> Iterator[MovCr3]:
    """Yield every `mov cr3` among the instructions, in the order of the log, at its address.

    Code is logged right before it is executed for the first time.
    """
    for match in _INSTRUCTION.finditer(log):
        found = mov_cr3_at(bytes.fromhex(match[2]))
        if found is not None:
            yield found.moved(int(match[1], 16))
