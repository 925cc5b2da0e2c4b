"""How many exceptions and how many interrupts a stretch of a log holds."""

from __future__ import annotations

from cr3scope.dataclass import dataclass



@dataclass(frozen=True, slots=True)
class Count:
    """``records`` by their numbers, of which ``exceptions`` and ``interrupts`` (of hardware, and of INT
    instructions) stand in the log; both are None where nobody counted."""

    records: int
    exceptions: int | None
    interrupts: int | None

    @property
    def without_last(self) -> Count:
        """Return the same without the last record, which is an exception."""
        exceptions = None if self.exceptions is None else self.exceptions - 1
        return Count(self.records - 1, exceptions, self.interrupts)
