"""The command line: one file for each verb, imported only when that verb is used.

A verb's module has ``add_arguments(parser)`` and ``run(arguments) -> int``, which returns the exit
status: 0 healthy, 1 an error was found or the guest faulted or hung, 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Protocol, cast

import cr3scope
from cr3scope.errors import UnusableInput
from cr3scope.text import printable

VERBS = {
    "analyze": "judge a capture: what will the switch do, why, and what to change",
    "triage": "find the first exception after the switch in QEMU's `-d int` log",
    "run": "run a QEMU, watch it, and judge what it traced",
    "maps": "list the effective mappings: rights inherited over all levels",
    "walk": "follow one address through the tables; say whether an access faults and which entry",
    "diff": "compare the effective mappings of two sources",
    "explain": "say what a rule means; with no rule, list them",
}
UNUSABLE = 2
# What a shell reports for a process that SIGINT or SIGPIPE ended.
INTERRUPTED, BROKEN_PIPE = 130, 141


class Verb(Protocol):
    """What the module of a verb offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the verb's arguments and options."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Does it, and returns the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line. No traceback reaches the user unless CR3SCOPE_DEBUG is set."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _dispatch(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except UnusableInput as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on: the interpreter's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # the last line of defence
        if os.environ.get("CR3SCOPE_DEBUG"):
            traceback.print_exc()
        return _complain(f"internal error: {type(error).__name__}: {error}")


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] not in VERBS:
        _top_parser().parse_args(argv)  # ends in help, version or a usage error
    name, *rest = argv
    parser = argparse.ArgumentParser(prog=f"cr3scope {name}", description=f"{VERBS[name]}.")
    verb = cast(Verb, importlib.import_module(f"cr3scope.cli.{name}"))
    verb.add_arguments(parser)
    return verb.run(parser.parse_args(rest))


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, VERBS))
    parser = argparse.ArgumentParser(
        prog="cr3scope",
        description="why a kernel dies at `mov cr3`, told before the switch",
        epilog="verbs:\n"
        + "\n".join(f"  {name:{width}}  {what}" for name, what in VERBS.items())
        + "\n\nexit status: 0 healthy, 1 an error was found, 2 the input cannot be used",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cr3scope {cr3scope.__version__}")
    parser.add_argument("verb", metavar="VERB", choices=VERBS, help="what to do, see below")
    return parser


def _complain(message: str) -> int:
    print(f"cr3scope: {printable(message)}", file=sys.stderr)
    return UNUSABLE
