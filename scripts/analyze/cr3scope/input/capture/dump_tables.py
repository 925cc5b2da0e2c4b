"""The table pages of a dump."""

from __future__ import annotations

from cr3scope.input.capture.records import Dump
from cr3scope.paging.tables import Entries


class DumpTables:
    """The table pages of a dump."""

    def __init__(self, dump: Dump) -> None:
        self._pages = dump.tables

    def table(self, phys: int) -> Entries | None:
        """Return the entries as they were dumped; None for a page that was not."""
        return self._pages.get(phys)
