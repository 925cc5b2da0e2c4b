"""How a chain of exceptions ends."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """How a chain of exceptions ends."""

    TRIPLE_FAULT = "triple-fault"
    STORM = "storm"
    HANG = "hang"
    PARKED = "parked"  # the guest's own code goes nowhere, on purpose
    HANDLED = "handled"  # somebody took it, and said so
    DELIVERED = "delivered"  # nothing tells what came of it
    STOPPED = "stopped"  # whoever runs the guest gave it up


WITHOUT_EXCEPTION = frozenset({Ending.HANG, Ending.PARKED})  # the machine stands, and none brought it there
