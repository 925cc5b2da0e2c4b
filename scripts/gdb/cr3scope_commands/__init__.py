"""gdb's `cr3scope` commands: thin adapters over the cr3scope package, one file for each."""

from __future__ import annotations

import importlib

import gdb

from cr3scope_commands.command import Command
from cr3scope_commands.libraries import missing, missing_line

# The module of each command, and its class there.
_COMMANDS = {
    "blame": "Blame", "breaks": "Break", "check": "Check", "diff": "Diff", "fault": "FaultCommand", "handoff": "Handoff",
    "maps": "Maps", "report": "Report", "save": "Save", "step": "Step", "symbols": "SymbolsCommand", "trace": "TraceCommand",
    "walk": "WalkCommand",
}  # fmt: skip
_NAMES = {"breaks": "break"}


class Cr3scope(gdb.Command):
    """What the CPU sees through the page tables, before and after `mov cr3`."""

    def __init__(self) -> None:
        super().__init__("cr3scope", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class Lacking(Command):
    """Say what is missing: this command needs a module that gdb's Python does not have."""

    def __init__(self, name: str, needs: str) -> None:
        self.name, self._needs = name, needs
        super().__init__()

    def run(self, words: list[str]) -> None:
        raise ModuleNotFoundError(name=self._needs)


def register() -> None:
    """Make the commands known to gdb. Those that need a library which is missing say so when they are used."""
    Cr3scope()
    lacking = missing()
    for module, command in _COMMANDS.items():
        try:
            getattr(importlib.import_module(f"cr3scope_commands.{module}"), command)()
        except ImportError:
            if not lacking:
                raise
            Lacking(_NAMES.get(module, module), lacking[0])
    if lacking:
        gdb.write(f"cr3scope: {missing_line(lacking)}\n", gdb.STDERR)
