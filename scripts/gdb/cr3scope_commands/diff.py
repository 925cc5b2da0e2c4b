"""`cr3scope diff`."""

from __future__ import annotations

from dataclasses import replace

import gdb

from cr3scope.input.sources.open import open_source
from cr3scope.paging.compare import differences
from cr3scope.paging.effective import mappings
from cr3scope.render.diff import as_text
from cr3scope_commands.command import Command, show
from cr3scope.target.switch import new_cr3
from cr3scope_commands.target import stop


class Diff(Command):
    """Show what the new tables map differently from the current ones.

    cr3scope diff [SOURCE]
    With a SOURCE (a capture, an ELF core, a file of `cr3scope save`): it against
    the current ones."""

    name, usage = "diff", "[SOURCE]"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if len(words) > 1:
            raise self.misused()
        now = stop()
        mine = mappings(now, now.cpu, now.platform)
        current = f"live tables, CR3 {now.cpu.cr3:#x}"
        if words:
            saved = open_source(words[0])
            saved_cpu = saved.cpu if saved.tells_pat else replace(saved.cpu, pat=now.cpu.pat)
            other = mappings(saved.tables, saved_cpu, now.platform)
            show(as_text(differences(other, mine), other, mine, (saved.description, current)))
            return
        cpu = replace(now.cpu, cr3=new_cr3(now))
        new = mappings(now, cpu, now.platform)
        show(as_text(differences(mine, new), mine, new, (current, f"new tables, CR3 {cpu.cr3:#x}")))
