"""``cr3scope gdb-init``: the line for ``~/.gdbinit``."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from cr3scope.places import Files, present

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_PLAIN = re.compile(r"[A-Za-z0-9_./+@%=:,-]+")
_HELP = "print the line for ~/.gdbinit that loads gdb's commands"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "gdb-init", help=_HELP, description=f"{_HELP.capitalize()}: `cr3scope gdb-init >> ~/.gdbinit`, then `help cr3scope` in gdb."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the line; return 0. UnusableInput if the commands are not where they should be."""
    print(line_for(str(present(Files.GDB))))
    return 0


def line_for(script: str) -> str:
    """Return gdb's command that loads a script, whatever is in its name."""
    if _PLAIN.fullmatch(script):
        return f"source {script}"
    return f"python import runpy; runpy.run_path({ascii(script)})"  # gdb's own words end at blanks, some of them
