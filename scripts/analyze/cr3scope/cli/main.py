"""The command line's frame: finds the verb, runs it, and turns every failure into one line."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import NoReturn

from cr3scope.cli.outputs import check_outputs
from cr3scope.cli.settings import DEBUG
from cr3scope.cli.streams import NotPrinted, hang_up, prepare, say, settle
from cr3scope.cli.uncollected import uncollected
from cr3scope.cli.verb_parser import VerbParser
from cr3scope.errors import Ended, UnusableInput
from cr3scope.text import printable

EXIT_UNUSABLE = 2
_UNPRINTED = "standard output: {}"
_COMPLETES = "_ARGCOMPLETE"
_EXIT_SIGNAL = 128  # and its number: as a shell reports who was ended by one

_HOW_TO_REPORT = f"`cr3scope doctor --report FILE -- VERB ...` writes a report, without names and paths; {DEBUG}=1 shows where"

# A verb's module is imported only when the verb is used: `triage` needs no numpy.
VERBS = {
    "analyze": "judge a capture: what will the switch do?",
    "triage": "find in a log, or in what people paste, what a guest did not survive",
    "run": "run QEMU, observe the guest, and judge",
    "listen": "listen at a real machine's serial line, or a console, and judge each boot",
    "maps": "list the effective mappings of an address space",
    "map": "show the tables on the way of an address, a cell for each entry",
    "walk": "show every entry that an address meets, and which one vetoes",
    "diff": "show how two address spaces differ",
    "lint": "find in a kernel's file or a .efi image what will not boot, without booting it",
    "mcp": "serve the verbs to agents and editors (Model Context Protocol, standard streams)",
    "explain": "explain a rule; without one, list them",
    "completion": "print what lets a shell complete verbs, options and values by Tab",
    "doctor": "tell what is here, what is missing, and what works without it; or write a bug report",
    "files": "tell where cr3scope.h, the examples, gdb's commands, the plugin's source and the schemas lie",
    "gdb-init": "print the line for ~/.gdbinit that loads gdb's commands",
}

EPILOG = """\
exit status: 0 healthy; 1 at least one error found, or the guest faulted or hung;
2 the input cannot be used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare()
    try:
        with _ending():
            status = _settled(perform(words))
    except SystemExit:  # of argparse, which has said why
        status = _settled(0)
        if not status:
            raise
    except UnusableInput as error:
        status = _fail(str(error))
    except BrokenPipeError:  # the reader went away (`| head`)
        hang_up()
        status = _EXIT_SIGNAL + signal.SIGPIPE
    except KeyboardInterrupt:
        status = _EXIT_SIGNAL + signal.SIGINT
    except Ended as error:
        status = _fail(f"ended by {error.by.name}", _EXIT_SIGNAL + error.by)
    except NotPrinted as error:
        hang_up()
        status = _fail(_UNPRINTED.format(error.strerror))
    except ModuleNotFoundError as error:
        if os.environ.get(DEBUG) or not error.name or error.name.startswith("cr3scope"):
            raise
        status = _fail(f"this needs the Python module {error.name}, which {sys.executable} does not have (`cr3scope doctor`)")
    except Exception as error:  # whatever a parser missed: a user never sees a traceback
        if os.environ.get(DEBUG):
            raise
        kind = type(error).__name__
        status = _fail(f"internal error: {kind}: {error} ({_HOW_TO_REPORT})")
    return status


@contextmanager
def _ending() -> Iterator[None]:
    """Let a signal that ends the process leave by the same door as an error: what was begun is cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        for one in before:  # once is enough
            signal.signal(one, signal.SIG_IGN)
        raise Ended(signal.Signals(number))

    for one, handler in before.items():
        if handler == signal.SIG_DFL:  # else who has started it wants it to go on (nohup)
            signal.signal(one, end)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _settled(status: int) -> int:
    """The status, unless what it stands for could not be printed."""
    try:
        why = settle()
    except BrokenPipeError:
        return _EXIT_SIGNAL + signal.SIGPIPE
    return status if why is None else _fail(_UNPRINTED.format(why))


def perform(words: Sequence[str]) -> int:
    """Run one command line and return its exit status; what goes wrong is an exception."""
    arguments = parsed(words)
    check_outputs(arguments)
    status: int = arguments.run(arguments)
    return status


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of one command line; SystemExit, of argparse, which has said why, if it is none."""
    line = os.environ.get("COMP_LINE") if _COMPLETES in os.environ else None  # of a shell, at Tab
    parser = _parser(_verb_of(words if line is None else line.split()[1:]))
    if line is not None:
        _module("completion").complete(parser)
    return parser.parse_args(words)


def whole_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs, of which the manual page is made (`make man`)."""
    return _parser(*VERBS)


def parser_of(verb: str) -> VerbParser:
    """Return the parser of one of :data:`VERBS`."""
    subparsers = argparse.ArgumentParser().add_subparsers(parser_class=VerbParser)
    _module(verb).add_parser(subparsers)
    return subparsers.choices[verb]


def _verb_of(words: Sequence[str]) -> str | None:
    """The verb is the first word that is no option; the frame's own options take no value."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first if first in VERBS else None


def _parser(*wanted: str | None) -> argparse.ArgumentParser:
    """All verbs are listed, but only the wanted ones know their arguments."""
    parser = argparse.ArgumentParser(
        prog="cr3scope",
        description="Tells why a kernel dies at `mov cr3`, before the switch.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True, parser_class=VerbParser)
    for verb, words in VERBS.items():
        if verb in wanted:
            _module(verb).add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=words, add_help=False)  # its own is never asked for
    return parser


def _module(verb: str) -> ModuleType:
    name = f"cr3scope.cli.{verb.replace('-', '_')}"
    if name not in sys.modules:
        with uncollected():
            importlib.import_module(name)
            gc.freeze()  # modules stay: they are not searched for cycles later either
    return sys.modules[name]


def _version() -> str:
    from cr3scope import __version__

    return __version__


def _fail(message: str, status: int = EXIT_UNUSABLE) -> int:
    line = printable(" ".join(message.split("\n")))
    say(f"cr3scope: {line}")
    return status
