"""Names of like facts in one finding, and like things to say in one line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from cr3scope.message import Message, message


def numbered(name: str, number: int) -> str:
    """Return the name of the fact of one of several like things, which count from 1: ``entry``, ``entry_2``."""
    return name if number == 1 else f"{name}_{number}"


def together(said: Sequence[Message]) -> Message:
    """Return one or more messages as one."""
    return reduce(lambda first, rest: message("{first}; {rest}", first=first, rest=rest), said)
