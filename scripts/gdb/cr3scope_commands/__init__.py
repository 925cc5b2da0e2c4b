"""gdb's `cr3scope` commands: thin adapters over the cr3scope package, one file for each."""

from __future__ import annotations

import gdb

from cr3scope_commands import blame, breaks, check, diff, fault, handoff, maps, report, save, step, symbols, trace, walk


class Cr3scope(gdb.Command):
    """What the CPU sees through the page tables, before and after `mov cr3`."""

    def __init__(self) -> None:
        super().__init__("cr3scope", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


def register() -> None:
    """Make the commands known to gdb."""
    Cr3scope()
    for command in (
        blame.Blame, breaks.Break, check.Check, diff.Diff, fault.FaultCommand, handoff.Handoff,
        maps.Maps, report.Report, save.Save, step.Step, symbols.SymbolsCommand, trace.TraceCommand,
        walk.WalkCommand,
    ):  # fmt: skip
        command()
