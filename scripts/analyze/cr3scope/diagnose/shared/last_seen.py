"""What the observation adds of its own."""

from __future__ import annotations

from cr3scope.diagnose.observation import Observation
from cr3scope.message import Message, message


def last_seen(seen: Observation) -> tuple[Message, ...]:
    """Return what a guest that hangs was doing when last seen; nothing if nobody looked."""
    return (message("{last_seen}", last_seen=seen.detail),) if seen.detail else ()
