"""``cr3scope mcp``: the verbs for agents and editors, by the Model Context Protocol on the standard streams."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.mcp_wire import Output, lines
from cr3scope.errors import UnusableInput
from cr3scope.mcp.places import Places
from cr3scope.mcp.server import Server
from cr3scope.mcp.tools import tools

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_QEMU = ("qemu-system-x86_64", "qemu-system-i386")


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "mcp",
        help="serve the verbs to agents and editors (Model Context Protocol, standard streams)",
        description="Speaks the Model Context Protocol on standard input and output: run, triage, analyze, maps, walk, diff, lint, explain"
        " and report as tools. All but run only read, and only files below --root.",
    )
    parser.add_argument("--root", metavar="DIR", type=Path, action="append", help="a folder whose files may be read (default: the current one)")
    parser.add_argument("--qemu", metavar="PROGRAM", action="append", default=[], help=f"another program that `run` may start, beside {' and '.join(_QEMU)}")
    parser.add_argument("--no-run", action="store_true", help="leave `run` out: nothing is started, and nothing but reading is possible")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Answer until the client closes its end, and return 0. UnusableInput of a root that is no folder, OSError if the client does
    not read."""
    roots = arguments.root or [Path.cwd()]
    for root in roots:
        if not root.is_dir():
            raise UnusableInput(f"{root}: not a folder")
    output = Output()
    server = Server(tools((*_QEMU, *arguments.qemu), not arguments.no_run), Places(roots), output.send, output.offer)
    try:
        for line in lines(output):
            if line is None:
                server.refuse_long()
            else:
                server.take(line)
        if not output.is_gone:
            server.close()
    finally:
        output.end()
        server.abandon()
    if output.why is not None:
        raise output.why
    return 0
