"""What is to be said about the input itself."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.message import Message


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something about the input itself: damage, a missing record, a skipped kind."""

    message: str | Message
    line: int | None = None
    offset: int | None = None
