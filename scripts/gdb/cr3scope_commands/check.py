"""`cr3scope check`."""

from __future__ import annotations

from cr3scope.render.code_prediction import report
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.target import stop


class Check(Command):
    """Tell what comes next: will the switch at the PC survive, and what happens if not.

    cr3scope check
    Judges the tables that the `mov cr3` at the PC will load (elsewhere: the current ones): next
    fetch, stack write, entry if the code tells it, IDT, GDT and handlers; with `cr3scope trace` what the
    loader planned, too."""

    name = "check"

    def run(self, words: list[str]) -> None:
        self.no_arguments(words)
        show(report(trace.judged(stop(in_real_mode=True))))
