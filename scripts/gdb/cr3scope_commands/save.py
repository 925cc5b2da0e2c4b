"""`cr3scope save`."""

from __future__ import annotations

import struct
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.paging.effective import mappings
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.sources.write_core import write_core
from cr3scope_commands.command import Command, show
from cr3scope.forecast.switch import new_cr3, switch_at_pc
from cr3scope_commands.target import stop


class Save(Command):
    """Save the current page tables, and those that a `mov cr3` at the PC will load, to a file.

    cr3scope save FILE
    The file is an ELF core for `cr3scope maps FILE`, `walk` and `diff`; --cr3 chooses other tables
    in it."""

    name, usage = "save", "FILE"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.misused()
        now = stop()
        roots = [now.cpu.cr3] + ([new_cr3(now)] if switch_at_pc(now) else [])
        for cr3 in roots:
            mappings(now, now.cpu.with_(cr3=cr3), now.platform)
        pages = now.tables_read()
        try:
            Path(words[0]).write_bytes(write_core(now.cpu.with_(cr3=roots[-1]), pages))
        except (OSError, ValueError, struct.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UnusableInput(f"{words[0]}: {reason}") from error
        names = ", ".join(f"{cr3:#x}" for cr3 in roots)
        size = len(pages) * PAGE_BYTES >> 10
        show([f"{words[0]}: {len(pages)} table pages ({size} KiB), CR3 {names}; read it with"
              f" --efer {now.cpu.efer:#x}"])  # fmt: skip
