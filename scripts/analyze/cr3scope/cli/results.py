"""The options that say in which forms a result is given, and where each goes; the forms for CI of what any verb has judged."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from cr3scope.cli.outputs import add_output, write
from cr3scope.cli.settings import DOCS
from cr3scope.errors import UnusableInput

if TYPE_CHECKING:
    from cr3scope.render.ci.judged import Judged

_FORMS = {"junit": "JUnit's XML", "sarif": "SARIF 2.1.0", "markdown": "Markdown, for an issue or a job's summary",
          "codequality": "GitLab's code quality report"}  # fmt: skip


class Unwritten(UnusableInput):
    """A file that was asked for cannot be written; all else is."""


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that makes a verdict."""
    add_output(parser, "json", "write the verdict as JSON")
    add_output(parser, "html", "write the verdict as one HTML page")
    add_ci_options(parser).add_argument("--name", metavar="NAME", help="what the forms for CI call it (default: the file that is judged)")


def add_ci_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options of forms that CI systems and editors read, and return their group."""
    group = parser.add_argument_group("for CI and editors")
    for name, words in _FORMS.items():
        add_output(group, name, f"write the result as {words}")
    group.add_argument("--github", action="store_true", help="print annotations for GitHub too, at the lines of source")
    group.add_argument("--lines", action="store_true", help="print each finding as a line FILE:LINE: SEVERITY: .. too, as compilers do")
    return group


@contextmanager
def reported(arguments: argparse.Namespace, name: str, file: str | None) -> Iterator[None]:
    """Tell CI, too, of input that cannot be used: who reads an old report else takes it for this one."""
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
        more = {"docs": os.environ.get(DOCS, "")} if name == "sarif" else {}
        content = import_module(f"cr3scope.render.ci.{name}").render(results, root, **more)
        refused += write(target, content)
    for name in ("lines", "github"):
        if getattr(arguments, name):
            content = import_module(f"cr3scope.render.ci.{name}").render(results, root)
            sys.stdout.write(shown(arguments, content) if name == "lines" else content)
    return refused


def _asks(arguments: argparse.Namespace) -> bool:
    return arguments.github or arguments.lines or any(getattr(arguments, name) is not None for name in _FORMS)
