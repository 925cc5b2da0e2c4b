"""`cr3scope report`."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.render.output_file import write_asked
from cr3scope.text import printable
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.target import stop

if TYPE_CHECKING:
    from cr3scope.verdict.types import Verdict

_CI_FORMS = {".md": "markdown", ".sarif": "sarif", ".xml": "junit"}


class Report(Command):
    """Write what `check` says as one HTML page, with the address spaces before and behind the switch drawn.

    cr3scope report FILE
    The page needs no network and no other file: open it in a browser, or attach it to an issue.
    A FILE that ends in .md, .sarif, .xml (JUnit's) or .json gets the same in that form."""

    name, usage = "report", "FILE"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.misused()
        path = Path(words[0]).expanduser()
        verdict = trace.judged(stop()).verdict
        try:
            page = _written(verdict, path.suffix).encode(errors="backslashreplace")
        except ModuleNotFoundError as error:
            raise UnusableInput(f"{error.name} is missing from gdb's Python: `save` a core, and `analyze --html` that") from error
        try:
            write_asked(path, [page])
        except OSError as error:
            raise UnusableInput(f"{printable(str(path))}: {error.strerror}") from error
        show([f"{printable(str(path))}: {len(page) >> 10} KiB"])


def _written(verdict: Verdict, suffix: str) -> str:
    """The form that a file's name asks for. What a form needs, as a template engine, may be missing from gdb's Python."""
    if suffix not in _CI_FORMS:
        form = import_module(f"cr3scope.render.{'json' if suffix == '.json' else 'html'}")
        return str(form.render(verdict))
    from cr3scope.render.ci.judged import of_verdict

    file = gdb.current_progspace().filename
    judged = of_verdict(verdict, file or "a guest in gdb", "gdb", file)
    return str(import_module(f"cr3scope.render.ci.{_CI_FORMS[suffix]}").render([judged], os.getcwd()))
