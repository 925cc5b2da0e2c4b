"""`cr3scope save`."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.paging.effective import mappings
from cr3scope.render.output_file import write_asked
from cr3scope.target.saved import core_of
from cr3scope.target.switch import new_cr3, switch_at_pc
from cr3scope.text import printable
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.target import StubMemory, stop


class Save(Command):
    """Save what the verdict rests on to a file: registers, page tables, code, stack, IDT, GDT.

    cr3scope save FILE
    The tables are the current ones and those that a `mov cr3` at the PC will load. The file is an ELF
    core: `cr3scope analyze FILE` gives the verdict again, anywhere; a trace that was given is in it, too. `maps`, `walk` and `diff` show the
    new tables in it, with --cr3 the others."""

    name, usage = "save", "FILE"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.misused()
        path = Path(words[0]).expanduser()
        memory = StubMemory()
        now = stop(memory)
        roots = [now.cpu.cr3] + ([new_cr3(now)] if switch_at_pc(now) else [])
        trace.judged(now)  # reads whatever the verdict needs
        for cr3 in roots:
            mappings(now, replace(now.cpu, cr3=cr3), now.platform)
        pages = memory.pages_read()
        try:
            write_asked(path, [core_of(now, pages, roots[-1], trace.contents())])
        except (OSError, ValueError, struct.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UnusableInput(f"{printable(str(path))}: {reason}") from error
        names = ", ".join(f"{cr3:#x}" for cr3 in roots)
        size = len(pages) * PAGE_BYTES >> 10
        show([f"{printable(str(path))}: {len(pages)} pages ({size} KiB), CR3 {names}"])
