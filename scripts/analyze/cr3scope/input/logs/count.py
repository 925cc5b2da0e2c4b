"""How many exceptions and how many interrupts a stretch of a log holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Count:
    """``records`` by their numbers, of which ``exceptions`` and ``interrupts`` (of hardware, and of INT
    instructions) stand in the log; both are None where nobody counted."""

    records: int
    exceptions: int | None
    interrupts: int | None

    @property
    def words(self) -> str:
        """Return ``126 exceptions``; ``at least`` where some were left out of the log."""
        if self.exceptions is None or self.interrupts is None:
            return f"{self.records} exceptions and interrupts"
        least = "at least " if self.records > self.exceptions + self.interrupts else ""
        return f"{least}{self.exceptions} exception{'s' * (self.exceptions != 1)}"

    @property
    def handled_words(self) -> str:
        """Return ``126 exceptions, all handled, and 3 interrupts``."""
        handled = "handled" if self.exceptions == 1 else "all handled"
        also = f", and {self.interrupts} interrupt{'s' * (self.interrupts != 1)}" if self.interrupts else ""
        return f"{self.words}, {handled}{also}"

    @property
    def without_last(self) -> Count:
        """Return the same without the last record, which is an exception."""
        exceptions = None if self.exceptions is None else self.exceptions - 1
        return Count(self.records - 1, exceptions, self.interrupts)
