"""How a chain of exceptions ends."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """How a chain of exceptions ends."""

    TRIPLE_FAULT = "triple-fault"
    STORM = "storm"
    HANG = "hang"
    HANDLED = "handled"
