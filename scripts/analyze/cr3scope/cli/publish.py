"""Where a verdict goes: text to standard output, JSON to where it was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.render import json as json_form
from cr3scope.render import text
from cr3scope.render.terminal import wants_colour
from cr3scope.verdict import Verdict


def publish(verdict: Verdict, json_target: str | None) -> None:
    """With ``-`` as target nothing but JSON goes to standard output."""
    if json_target == "-":
        sys.stdout.write(json_form.render(verdict))
        return
    if json_target is not None:
        try:
            Path(json_target).write_text(json_form.render(verdict), encoding="utf-8")
        except OSError as error:
            raise UnusableInput(f"{json_target}: {error.strerror}") from error
    sys.stdout.write(text.render(verdict, wants_colour(sys.stdout)))
