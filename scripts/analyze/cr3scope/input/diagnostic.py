"""What is to be said about the input itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something about the input itself: damage, a missing record, a skipped kind."""

    message: str
    line: int | None = None
    offset: int | None = None
