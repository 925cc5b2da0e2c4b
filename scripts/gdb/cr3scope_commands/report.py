"""`cr3scope report`."""

from __future__ import annotations

from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.render.output_file import write_asked
from cr3scope.text import printable
from cr3scope_commands import trace
from cr3scope_commands.command import Command, show
from cr3scope_commands.target import stop


class Report(Command):
    """Write what `check` says as one HTML page, with the address spaces before and behind the switch drawn.

    cr3scope report FILE
    The page needs no network and no other file: open it in a browser, or attach it to an issue."""

    name, usage = "report", "FILE"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.misused()
        path = Path(words[0]).expanduser()
        verdict = trace.judged(stop()).verdict
        try:
            from cr3scope.render import html  # its template engine may be missing from gdb's Python

            page = html.render(verdict).encode(errors="backslashreplace")
        except ModuleNotFoundError as error:
            raise UnusableInput(f"{error.name} is missing from gdb's Python: `save` a core, and `analyze --html` that") from error
        try:
            write_asked(path, [page])
        except OSError as error:
            raise UnusableInput(f"{printable(str(path))}: {error.strerror}") from error
        show([f"{printable(str(path))}: {len(page) >> 10} KiB"])
