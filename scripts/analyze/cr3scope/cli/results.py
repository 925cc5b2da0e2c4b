"""The options that say in which forms a result is given, and where each goes; the forms for CI of what any verb has judged."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.errors import UnusableInput
from cr3scope.render.output_file import write_asked
from cr3scope.text import printable

if TYPE_CHECKING:
    from cr3scope.render.ci.judged import Judged

STDOUT = "-"
_FORMS = {"junit": "JUnit's XML", "sarif": "SARIF 2.1.0", "markdown": "Markdown, for an issue or a job's summary"}
_TARGETS = ("json", "html", *_FORMS)
_DOCS = "CR3SCOPE_DOCS"  # where the documents are to be read: the rules' help in SARIF leads there


class Unwritten(UnusableInput):
    """A file that was asked for cannot be written; all else is."""


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that makes a verdict."""
    parser.add_argument("--json", metavar="FILE", help="write the verdict as JSON; - for stdout")
    parser.add_argument("--html", metavar="FILE", help="write the verdict as one HTML page")
    add_ci_options(parser).add_argument("--name", metavar="NAME", help="what the forms for CI call it (default: the file that is judged)")


def add_ci_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options of forms that CI systems and editors read, and return their group."""
    group = parser.add_argument_group("for CI and editors")
    for name, words in _FORMS.items():
        group.add_argument(f"--{name}", metavar="FILE", help=f"write the result as {words}; - for stdout")
    group.add_argument("--github", action="store_true", help="print annotations for GitHub too, at the lines of source")
    group.add_argument("--lines", action="store_true", help="print each finding as a line FILE:LINE: SEVERITY: .. too, as compilers do")
    return group


def takes_stdout(arguments: argparse.Namespace) -> str | None:
    """Return the option to whose form alone standard output belongs; None if the text goes there."""
    return next((name for name in ("json", *_FORMS) if getattr(arguments, name) == STDOUT), None)


def check_targets(arguments: argparse.Namespace) -> None:
    """Raise UnusableInput, before any work, if two forms are to go to the same place."""
    places: dict[str, str] = {}
    for name in _TARGETS:
        target = getattr(arguments, name, None)
        if target is None or target.startswith("/dev/") or (name == "html" and target == STDOUT):
            continue
        other = places.setdefault(target if target == STDOUT else os.path.abspath(target), name)
        if other != name:
            raise UnusableInput(f"--{other} and --{name}: both to {'standard output' if target == STDOUT else printable(target)}")
    only = takes_stdout(arguments)
    more = [name for name in ("github", "lines") if getattr(arguments, name)]
    if only is not None and more:
        raise UnusableInput(f"--{only} - and --{more[0]}: both to standard output")


@contextmanager
def reported(arguments: argparse.Namespace, name: str, file: str | None) -> Iterator[None]:
    """Tell CI, too, of input that cannot be used: who reads an old report else takes it for this one."""
    check_targets(arguments)
    try:
        yield
    except Unwritten:
        raise
    except UnusableInput as error:
        if _asks(arguments):
            from cr3scope.render.ci.judged import unusable

            refused = give(arguments, [unusable(arguments.name or name, arguments.verb, file, str(error))])
            if refused:
                raise UnusableInput("; ".join((str(error), *refused))) from error
        raise


def judged_for_ci(arguments: argparse.Namespace, judge: Callable[[], Sequence[Judged]]) -> list[str]:
    """Give the forms for CI that were asked for, of what ``judge`` returns; return what went wrong with files."""
    return give(arguments, judge()) if _asks(arguments) else []


def shown(arguments: argparse.Namespace, text: str) -> str:
    """Return the text of a result as it may be printed where the runner of a CI system looks for commands."""
    if not arguments.github:
        return text
    from cr3scope.render.ci.github import silenced

    return silenced(text)


def write(target: str, content: str) -> list[str]:
    """Write a form to where it was asked for; return what went wrong, if anything."""
    try:
        write_asked(Path(target), [content.encode(errors="backslashreplace")])
    except OSError as error:
        return [f"{target}: {error.strerror}"]
    return []


def give(arguments: argparse.Namespace, results: Sequence[Judged]) -> list[str]:
    """Write and print the forms for CI that were asked for; return what went wrong with files."""
    from cr3scope.render.ci.judged import below

    root = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    results = [replace(judged, name=below(root, judged.name)) for judged in results]
    refused: list[str] = []
    for name in _FORMS:
        target = getattr(arguments, name)
        if target is None:
            continue
        more = {"docs": os.environ.get(_DOCS, "")} if name == "sarif" else {}
        content = import_module(f"cr3scope.render.ci.{name}").render(results, root, **more)
        if target == STDOUT:
            sys.stdout.write(content)
        else:
            refused += write(target, content)
    for name in ("lines", "github"):
        if getattr(arguments, name):
            content = import_module(f"cr3scope.render.ci.{name}").render(results, root)
            sys.stdout.write(shown(arguments, content) if name == "lines" else content)
    return refused


def _asks(arguments: argparse.Namespace) -> bool:
    return arguments.github or arguments.lines or any(getattr(arguments, name) is not None for name in _FORMS)
