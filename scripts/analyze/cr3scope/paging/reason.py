"""Why an access faults."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Why an access faults. The values are words for a person."""

    NOT_PRESENT = "not present"
    RESERVED = "reserved bit set"
    TABLE_UNREADABLE = "the table it points to is no readable memory"
    READ_ONLY = "read-only"
    NO_EXECUTE = "no-execute"
    SUPERVISOR = "supervisor only"
    SMEP = "user page, SMEP forbids the supervisor to execute it"
    SMAP = "user page, SMAP forbids the supervisor to touch it"
    PROTECTION_KEY = "protection key"
    SHADOW_STACK = "no shadow-stack page"
    NON_CANONICAL = "address is not canonical"
    MISALIGNED = "misaligned"

    def of(self, entry: str) -> str:
        """Return this reason said of an entry with that name, as ``PD[3] is not present``."""
        predicate = _PREDICATES.get(self)
        return f"{entry} {predicate}" if predicate else f"{entry}: {self.value}"


_PREDICATES = {
    Reason.NOT_PRESENT: "is not present",
    Reason.READ_ONLY: "is read-only",
    Reason.NO_EXECUTE: "has NX set",
    Reason.TABLE_UNREADABLE: "points to a table where no memory can be read",
}
