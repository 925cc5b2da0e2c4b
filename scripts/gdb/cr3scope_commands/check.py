"""`cr3scope check`."""

from __future__ import annotations

from cr3scope.model.code_prediction import predict_code
from cr3scope.render.code_steps import plain_report
from cr3scope_commands.command import Command, show
from cr3scope_commands.libraries import missing, missing_line
from cr3scope_commands.target import stop


class Check(Command):
    """Tell what comes next: will the switch at the PC survive, and what happens if not.

    cr3scope check
    Judges the tables that the `mov cr3` at the PC will load (elsewhere: the current ones): next
    fetch, stack write, entry if the code tells it, IDT, GDT and handlers; with `cr3scope trace` what the
    loader planned, too. Where gdb's Python lacks numpy no cause is named, and without capstone the next
    fetch alone is judged."""

    name = "check"

    def run(self, words: list[str]) -> None:
        self.no_arguments(words)
        now, lacking = stop(in_real_mode=True), missing()
        if lacking:
            show([*plain_report(now, predict_code(now)), f"note: {missing_line(lacking)}"])
            return
        from cr3scope.render.code_prediction import report
        from cr3scope_commands import trace

        show(report(trace.judged(now)))
