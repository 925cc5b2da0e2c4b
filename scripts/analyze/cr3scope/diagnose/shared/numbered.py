"""Names of like facts in one finding."""

from __future__ import annotations


def numbered(name: str, number: int) -> str:
    """Return the name of the fact of one of several like things, which count from 1: ``entry``, ``entry_2``."""
    return name if number == 1 else f"{name}_{number}"
