"""Addresses as a person knows them: function and source line, if gdb has symbols there."""

from __future__ import annotations

from pathlib import Path

import gdb

from cr3scope.images.source_text import SourceText, line_of_file
from cr3scope.render.source_line import as_text
from cr3scope.render.table import WIDTH
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


def text_at(virt: int, indent: str) -> list[str]:
    """Return the text of the line, below its place.

    Empty where gdb's source path has no such file (`set directories`).
    """
    found = source_text_at(virt)
    return [f"{indent}{as_text(found.number, found.text, WIDTH - len(indent))}"] if found else []


def source_text_at(virt: int) -> SourceText | None:
    """Return the text of the line; None where gdb's source path has no such file."""
    line = gdb.find_pc_line(virt)
    if line.symtab is None or not line.line:
        return None
    text = line_of_file(Path(line.symtab.fullname()), line.line)
    return SourceText(printable(line.symtab.filename), line.line, text) if text else None
