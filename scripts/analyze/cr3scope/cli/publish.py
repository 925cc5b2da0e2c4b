"""Where a verdict goes: text to standard output, JSON and HTML to where they were asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.render import json as json_form, text
from cr3scope.render.terminal import wants_colour
from cr3scope.verdict.types import Verdict


def publish(verdict: Verdict, json_target: str | None, html_target: str | None = None) -> None:
    """Print the verdict, or write it where it was asked for; with ``-`` as JSON target print nothing but JSON.
    """
    if html_target is not None:
        from cr3scope.render import html

        _write(html_target, html.render(verdict))
    if json_target == "-":
        sys.stdout.write(json_form.render(verdict))
        return
    if json_target is not None:
        _write(json_target, json_form.render(verdict))
    sys.stdout.write(text.render(verdict, wants_colour(sys.stdout)))


def _write(target: str, content: str) -> None:
    try:
        Path(target).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UnusableInput(f"{target}: {error.strerror}") from error
