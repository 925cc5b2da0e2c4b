"""Colour, only where it is wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

_STYLES = {"error": "1;31", "warning": "1;33", "note": "36", "good": "1;32", "dim": "2", "bold": "1"}


def wants_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """True on a terminal, unless NO_COLOR (https://no-color.org) or TERM=dumb asks for none."""
    return (
        stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    )


def paint(text: str, style: str, colour: bool) -> str:
    """``text`` in a named style, or as it is."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text
