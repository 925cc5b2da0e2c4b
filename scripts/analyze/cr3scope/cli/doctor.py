"""``cr3scope doctor``: what a bug report should tell, and nothing about whose machine it is."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import io
import linecache
import os
import platform
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope import __version__, limits
from cr3scope.cli import doctor_looks
from cr3scope.cli.doctor_looks import QEMU
from cr3scope.cli.outputs import add_output, write
from cr3scope.cli.patience import patience
from cr3scope.cli.source_options import add_json_option, publish
from cr3scope.errors import UnusableInput
from cr3scope.render.output_file import STDOUT
from cr3scope.text import printable

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numpy", "pyelftools", "capstone", "rich", "jinja2")
_OWN_SETTINGS = "CR3SCOPE_"
_LEFT_OUT = "[...]"
_PATH = re.compile(r"(?<![\w.~])~?/[^\s'\":;,()]+")
_LEAST_LETTERS = 2  # of a name that is looked for
_HELP = "tell what is here, what is missing, and what works without it; or write a bug report"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "doctor", help=_HELP, description="Tells what this machine has of what cr3scope can use, and what works without the rest. With"
        " --report, or a command behind --, it makes a bug report instead: versions, settings, and what goes wrong inside when the"
        " command is run; names, paths and the environment are left out."
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
    lines = [*_versions(), *_settings(), *(_outcome(words) if words else ())]
    text = "".join(f"{printable(line)}\n" for line in without(lines, _secrets(words)))
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


def without(lines: Iterable[str], secrets: Iterable[str]) -> Iterator[str]:
    """Yield the lines without these words, and without paths."""
    known = sorted({word for word in secrets if len(word) >= _LEAST_LETTERS}, key=len, reverse=True)
    for line in lines:
        plain = line
        for word in (each for each in known if "/" in each):  # whole paths: one may hold blanks
            plain = _hidden(plain, word)
        plain = _PATH.sub(_LEFT_OUT, plain)
        for word in known:
            plain = _hidden(plain, word)
        yield plain


def _hidden(line: str, word: str) -> str:
    """The line without a word, where it is no part of a longer one."""
    pieces = line.split(word)
    out = pieces[0]
    for piece in pieces[1:]:
        is_part = out[-1:].isalnum() or piece[:1].isalnum()
        out += (word if is_part else _LEFT_OUT) + piece
    return out


def _secrets(words: Sequence[str]) -> Iterator[str]:
    """Who and where: the user, the machine, and what the command line names besides verb and options."""
    yield platform.node()
    yield str(Path.home())
    yield Path.home().name
    yield str(Path.cwd())
    with contextlib.suppress(OSError, KeyError, ImportError):
        yield getpass.getuser()
    for word in words[1:]:
        name = word.partition("=")[2] if word.startswith("-") else word
        yield from (name, Path(name).name) if name else ()


def _ours() -> Iterator[str]:
    yield f"cr3scope {__version__}"
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _versions() -> Iterator[str]:
    yield from _ours()
    for name in _LIBRARIES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name}: not installed"
    yield _qemu()


def _qemu() -> str:
    program = shutil.which(QEMU)
    if program is None:
        return f"{QEMU}: not installed"
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", timeout=limits.DOCTOR_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return f"{QEMU}: does not tell its version"
    return done.stdout.partition("\n")[0]


def _settings() -> Iterator[str]:
    """Which of the project's own variables are set: names, not values."""
    names = sorted(name for name in os.environ if name.startswith(_OWN_SETTINGS))
    yield f"settings: {', '.join(names) or 'none'}"
    yield f"encodings: {sys.stdout.encoding} for output, {sys.getfilesystemencoding()} for names"


def _outcome(words: Sequence[str]) -> Iterator[str]:
    """What becomes of a command: its own words are not kept."""
    from cr3scope.cli.main import perform

    options = [word.partition("=")[0] for word in words[1:] if word.startswith("-")]
    yield f"command: {' '.join([words[0], *options])}, with {len(words) - 1 - len(options)} more words"
    nowhere = io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield f"it ended with status {perform(words)}"
    except UnusableInput:
        yield "it was refused: the input cannot be used"
    except SystemExit as error:
        yield f"the command line was refused (status {error.code})"
    except Exception as error:  # what the report is for
        yield from _told(error)


def _told(error: Exception) -> Iterator[str]:
    yield f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            yield f"  {'.'.join(path.relative_to(_PACKAGE.parent).with_suffix('').parts)}, line {frame.lineno}, in {frame.name}"
            yield f"    {linecache.getline(frame.filename, frame.lineno or 0).strip()}"
        else:
            yield f"  {path.parent.name}.{path.stem}, line {frame.lineno}, in {frame.name}"
