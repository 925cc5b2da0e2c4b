"""Addresses as a person knows them: function and source line, if gdb has symbols there."""

from __future__ import annotations

import gdb

from cr3scope.text import printable
from cr3scope_commands.answer import answer


def place(virt: int) -> str:
    """Return `` in function at file:line``, as much of it as gdb knows; empty without symbols."""
    words = ""
    block = answer(f"info symbol {virt:#x}")
    if not block.startswith("No symbol"):
        words = f" in {printable(block.split(' in section')[0])}"
    line = line_of(virt)
    return words if line is None else f"{words} at {line}"


def line_of(virt: int) -> str | None:
    """Return ``file:line`` of an instruction; None if gdb has no symbols there."""
    line = gdb.find_pc_line(virt)
    if line.symtab is None or not line.line:
        return None
    return f"{printable(line.symtab.filename)}:{line.line}"
