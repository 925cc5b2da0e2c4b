"""`cr3scope maps`."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.arrays import has_numpy
from cr3scope.paging.plain_ranges import plain_ranges
from cr3scope.render.range_row import Told, incompleteness, plain_text
from cr3scope_commands.command import Command, show
from cr3scope.target.switch import new_cr3
from cr3scope_commands.target import stop


class Maps(Command):
    """List what the page tables map, with the rights of all levels together.

    cr3scope maps [--new]
    --new: the tables that the `mov cr3` at the PC will load."""

    name, usage = "maps", "[--new]"
    options = ("--new",)

    def run(self, words: list[str]) -> None:
        if words not in ([], ["--new"]):
            raise self.misused()
        now = stop()
        cpu = replace(now.cpu, cr3=new_cr3(now)) if words else now.cpu
        description = f"live tables, CR3 {cpu.cr3:#x}"
        told: Told
        if has_numpy():
            from cr3scope.paging.effective import mappings
            from cr3scope.render.maps import as_text

            told = found = mappings(now, cpu, now.platform)
            lines = as_text(found, now, cpu, description)
        else:
            told = plain = plain_ranges(now, cpu, now.platform)
            lines = plain_text(plain, now, cpu, description)
        show(f"warning: {line}" for line in incompleteness(told))
        show(lines)
