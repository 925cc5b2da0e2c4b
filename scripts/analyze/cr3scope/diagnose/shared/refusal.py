"""Why an access is refused, said of the entry that does it."""

from __future__ import annotations

from cr3scope.message import Message
from cr3scope.paging.reason import Reason
from cr3scope.x86.access import EntryRef


def refusal(reason: Reason, veto: EntryRef | None) -> Message:
    """Return why ``veto`` refuses an access; of an access that meets no entry, why the address is refused."""
    if veto is None:
        return Message(reason.of("the address"))
    return Message(reason.of("{veto}"), {"veto": veto})
