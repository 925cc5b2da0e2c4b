"""Where a verdict goes: text to standard output, JSON and HTML to where they were asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.render import json as json_form, text
from cr3scope.render.output_file import write_asked
from cr3scope.render.terminal import wants_colour
from cr3scope.verdict.types import Verdict


def publish(
    verdict: Verdict, json_target: str | None, html_target: str | None = None, kept: Iterable[str] = ()
) -> None:
    """Print the verdict, or write it where it was asked for; with ``-`` as JSON target print nothing but JSON.

    ``kept``: lines for the end of what is printed. UnusableInput, once all else is written, if a file cannot be.
    """
    refused: list[str] = []  # a file that cannot be written costs the file, not what is printed
    if html_target is not None:
        from cr3scope.render import html

        refused += _write(html_target, html.render(verdict))
    if json_target is not None and json_target != "-":
        refused += _write(json_target, json_form.render(verdict))
    is_text = json_target != "-"
    sys.stdout.write(text.render(verdict, wants_colour(sys.stdout)) if is_text else json_form.render(verdict))
    if is_text:
        sys.stdout.writelines(f"{line}\n" for line in kept)
    if refused:
        raise UnusableInput("; ".join(refused))


def _write(target: str, content: str) -> list[str]:
    """What went wrong, if anything."""
    try:
        write_asked(Path(target), [content.encode(errors="backslashreplace")])
    except OSError as error:
        return [f"{target}: {error.strerror}"]
    return []
