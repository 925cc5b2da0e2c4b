"""Where a log shows that an address space came into force."""

from __future__ import annotations

from cr3scope.dataclass import dataclass



@dataclass(frozen=True, slots=True)
class Switch:
    """Where a log first shows the address space that the report is about."""

    cr3: int
    before: int | None  # the CR3 until then
    offset: int  # byte of the log
