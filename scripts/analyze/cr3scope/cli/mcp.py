"""``cr3scope mcp``: the verbs for agents and editors, by the Model Context Protocol on the standard streams."""

from __future__ import annotations

import argparse
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.mcp.places import Places
from cr3scope.mcp.server import Server
from cr3scope.mcp.tools import tools

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_QEMU = ("qemu-system-x86_64", "qemu-system-i386")
_INPUT, _OUTPUT, _ERROR = 0, 1, 2
_PIECE, _TURN_MILLISECONDS = 1 << 16, 500


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
    """Answer until the client closes its end, and return 0. UnusableInput of a root that is no folder."""
    roots = arguments.root or [Path.cwd()]
    for root in roots:
        if not root.is_dir():
            raise UnusableInput(f"{root}: not a folder")
    output = _Output()
    server = Server(tools((*_QEMU, *arguments.qemu), not arguments.no_run), Places(roots), output.send)
    try:
        for line in _lines(output):
            if line is None:
                server.refuse_long()
            else:
                server.take(line)
        if not output.is_gone:
            server.close()
    finally:
        server.abandon()
    return 0


class _Output:
    """Standard output, for messages alone: whatever else is printed goes to standard error."""

    def __init__(self) -> None:
        self._descriptor = os.dup(_OUTPUT)
        os.set_inheritable(self._descriptor, False)
        os.dup2(_ERROR, _OUTPUT)
        self._lock = threading.Lock()
        self.is_gone = False

    def fileno(self) -> int:
        """Return the descriptor that leads to the client."""
        return self._descriptor

    def send(self, line: bytes) -> None:
        """Write one message whole; nothing where nobody reads any more."""
        with self._lock:
            while line and not self.is_gone:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except OSError:
                    self.is_gone = True


def _lines(output: _Output) -> Iterator[bytes | None]:
    """What the client sends, until it closes its end or reads no more: a line each, None for one that is too long."""
    held, is_long = b"", False
    poll = select.poll()
    poll.register(_INPUT, select.POLLIN)
    poll.register(output.fileno(), 0)
    while not output.is_gone:
        ready = dict(poll.poll(_TURN_MILLISECONDS))
        output.is_gone |= bool(ready.get(output.fileno(), 0) & select.POLLERR)  # the reader went away
        if _INPUT not in ready:
            continue
        try:
            piece = os.read(_INPUT, _PIECE)
        except OSError:
            piece = b""
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            if is_long or len(line) > limits.MCP_LINE_BYTES:
                is_long = False
                yield None
            elif line.strip():
                yield line
        if len(held) > limits.MCP_LINE_BYTES:
            held, is_long = b"", True
        if not piece:
            if is_long:
                yield None
            elif held.strip():
                yield held  # its line has no end: it is judged as it is
            return
