"""Where a verdict goes: text to standard output, all other forms to where they were asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cr3scope.cli.patience import patience
from cr3scope.cli.outputs import takes_stdout, write
from cr3scope.cli.results import Unwritten, judged_for_ci, shown
from cr3scope.render import json as json_form, text
from cr3scope.render.terminal import wants_colour
from cr3scope.verdict.types import Verdict

if TYPE_CHECKING:
    from cr3scope.render.ci.judged import Judged


def publish(
    verdict: Verdict, arguments: argparse.Namespace, name: str, file: str | None, kept: Iterable[str] = (),
    heard: json_form.HeardBoot | None = None,
) -> None:
    """Print the verdict, or write it where it was asked for; with ``-`` as a target print nothing but that form.

    ``name``: what CI is told it is of, unless the user names it; ``file``: what was looked at, None of what is no file. ``kept``: lines for the
    end of what is printed. ``heard``: which of several boots it is on; JSON on standard output then has a line for each.
    Unwritten, once all else is written, if a file cannot be.
    """
    refused: list[str] = []  # a file that cannot be written costs the file, not what is printed
    if arguments.html is not None:
        from cr3scope.render import html

        try:
            with patience(f"drawing {arguments.html}"):
                refused += write(arguments.html, html.render(verdict))
        except ModuleNotFoundError as error:
            refused.append(f"{arguments.html}: not written: this Python has no module {error.name}")
    only = takes_stdout(arguments)
    if arguments.json is not None:
        refused += write(arguments.json, json_form.render(verdict, heard is None or only != "json", heard))
    if only is None:
        lines = "".join(f"{line}\n" for line in kept)
        sys.stdout.write(shown(arguments, text.render(verdict, wants_colour(sys.stdout)) + lines))

    def judged() -> Sequence[Judged]:
        from cr3scope.render.ci.judged import of_verdict

        return [of_verdict(verdict, arguments.name or name, arguments.verb, file)]

    refused += judged_for_ci(arguments, judged)
    if refused:
        raise Unwritten("; ".join(refused))
