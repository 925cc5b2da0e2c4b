"""How a chain of exceptions ends."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """How a chain of exceptions ends."""

    TRIPLE_FAULT = "triple-fault"
    STORM = "storm"
    HANG = "hang"
    HANDLED = "handled"  # somebody took it, and said so
    DELIVERED = "delivered"  # nothing tells what came of it
    STOPPED = "stopped"  # whoever runs the guest gave it up
