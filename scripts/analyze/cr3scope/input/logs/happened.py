"""One event of a chain: what it was, and why it was not delivered."""

from __future__ import annotations

from dataclasses import dataclass

from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.event import InterruptRecord


@dataclass(frozen=True, slots=True)
class Happened:
    """``of_delivery``: it was raised by the delivery of the one before. ``why`` it could not be delivered itself; None if it
    was, or nothing bears out one reason. ``touched``: the address that its delivery reached for in vain, ``selector``: the
    one that its delivery used in vain; None where the log does not tell.
    """

    record: InterruptRecord
    of_delivery: bool = False
    why: Why | None = None
    touched: int | None = None
    selector: int | None = None
