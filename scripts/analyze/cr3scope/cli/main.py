"""The command line's frame: finds the verb, runs it, and turns every failure into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from cr3scope.errors import UnusableInput
from cr3scope.text import printable

EXIT_UNUSABLE = 2
_EXIT_INTERRUPTED = 130  # as a shell reports SIGINT
_EXIT_BROKEN_PIPE = 141  # as a shell reports SIGPIPE

# A verb's module is imported only when the verb is used: `triage` needs no numpy.
VERBS = {
    "analyze": "judge a capture: what will the switch do?",
    "triage": "find in a log, or in what people paste, what a guest did not survive",
    "run": "run QEMU, observe the guest, and judge",
    "maps": "list the effective mappings of an address space",
    "walk": "show every entry that an address meets, and which one vetoes",
    "diff": "show how two address spaces differ",
    "explain": "explain a rule; without one, list them",
}

EPILOG = """\
exit status: 0 healthy; 1 at least one error found, or the guest faulted or hung;
2 the input cannot be used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except UnusableInput as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except Exception as error:  # whatever a parser missed: a user never sees a traceback
        if os.environ.get("CR3SCOPE_DEBUG"):
            raise
        kind = type(error).__name__
        return _fail(f"internal error: {kind}: {error} (CR3SCOPE_DEBUG=1 shows where)")


def _run(words: Sequence[str]) -> int:
    parser = _parser(_verb_of(words))
    arguments = parser.parse_args(words)
    status: int = arguments.run(arguments)
    return status


def _verb_of(words: Sequence[str]) -> str | None:
    """The verb is the first word that is no option; the frame's own options take no value."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first if first in VERBS else None


def _parser(wanted: str | None) -> argparse.ArgumentParser:
    """All verbs are listed, but only the wanted one knows its arguments."""
    parser = argparse.ArgumentParser(
        prog="cr3scope",
        description="Tells why a kernel dies at `mov cr3`, before the switch.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for verb, words in VERBS.items():
        if verb == wanted:
            _module(verb).add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=words)
    return parser


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"cr3scope.cli.{verb}")


def _version() -> str:
    from cr3scope import __version__

    return __version__


def _fail(message: str) -> int:
    line = printable(" ".join(message.split("\n")))
    print(f"cr3scope: {line}", file=sys.stderr)
    return EXIT_UNUSABLE
