"""``cr3scope doctor``: what a bug report should tell, and nothing about whose machine it is."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cr3scope import __version__
from cr3scope.cli import doctor_looks
from cr3scope.cli.doctor_error import told_error
from cr3scope.cli.left_out import told_command, told_encoding, told_settings
from cr3scope.cli.main import perform
from cr3scope.cli.outputs import add_output, write
from cr3scope.cli.patience import patience
from cr3scope.cli.source_options import add_json_option, publish
from cr3scope.cli.streams import silenced
from cr3scope.errors import UnusableInput
from cr3scope.render.output_file import STDOUT
from cr3scope.text import printable

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_HELP = "tell what is here, what is missing, and what works without it; or write a bug report"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "doctor", help=_HELP, description="Tells what this machine has of what cr3scope can use, and what works without the rest. With"
        " --report, or a command behind --, it makes a bug report instead: versions, settings, and what goes wrong inside when the"
        " command is run. Only what is known to be cr3scope's own or Python's is told: names, paths and values are left out."
    )  # fmt: skip
    add_output(parser, "report", "write a bug report into a file")
    add_json_option(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- VERB ...", help="the command line that failed")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Tell all of it; return 0 whatever became of the command. UnusableInput if the file cannot be written."""
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.report is None and not words:
        return _look(arguments.json)
    if arguments.json is not None:
        raise UnusableInput("--json is about what is here and what is missing: a bug report has none")
    lines = [*_ours(), *doctor_looks.versions(), *_settings(), *(_outcome(words) if words else ())]
    text = "".join(f"{printable(line)}\n" for line in lines)
    refused = write(arguments.report or STDOUT, text)
    if refused:
        raise UnusableInput(refused[0])
    if arguments.report not in (None, STDOUT):
        print(f"wrote {printable(arguments.report)}: read it before you attach it to a report")
    return 0


def _look(target: str | None) -> int:
    """Print what is here and what is missing, or write it as JSON."""
    with patience("looking around"):
        found = list(doctor_looks.looks())
    publish([doctor_looks.as_json(__version__, found)], [*_ours(), "", *doctor_looks.as_lines(found)], (), target)
    return 0


def _ours() -> Iterator[str]:
    yield f"cr3scope {__version__}"
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _settings() -> Iterator[str]:
    yield f"settings: {told_settings(os.environ)}"
    yield f"encodings: {told_encoding(sys.stdout.encoding)} for output, {told_encoding(sys.getfilesystemencoding())} for names"


def _outcome(words: Sequence[str]) -> Iterator[str]:
    """What becomes of a command: what it prints is not kept."""
    yield f"command: {told_command(words)}"
    try:
        with silenced():
            status = perform(words)
    except UnusableInput:
        yield "it was refused: the input cannot be used"
    except SystemExit as error:
        yield "it ended with status 0" if error.code in (0, None) else "the command line was refused"
    except Exception as error:  # what the report is for
        yield from told_error(error)
    else:
        yield f"it ended with status {status}"
