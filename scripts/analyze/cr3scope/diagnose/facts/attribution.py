"""Which line of the loader made a page-table entry."""

from __future__ import annotations

from cr3scope.images.symbols import LineSource
from cr3scope.input.capture.records import Boot
from cr3scope.model.intent import Intent
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import PRESENT


class Attribution:
    """Callers of the trace's ``set``, ``map`` and ``table`` records, by entry."""

    def __init__(self, boot: Boot, intent: Intent, lines: LineSource) -> None:
        self._intent = intent
        self._lines = lines
        self._sets = {record.entry: record.caller for record in boot.sets}
        self._tables = {record.parent: record.caller for record in boot.tables}

    def source(self, entry: EntryRef | None, virt: int) -> str | None:
        """Return ``file:line`` of the call that made ``entry`` what it is; None if nobody said."""
        return self.line(self.caller(entry, virt))

    def line(self, caller: int | None) -> str | None:
        """Return ``file:line`` of the call that returns to ``caller``; None if nobody knows."""
        return self._lines.line_of_call(caller) if caller else None

    def caller(self, entry: EntryRef | None, virt: int) -> int | None:
        """Return where the call returns to that wrote the entry last; None if the trace tells of none.

        Without a direct write that is the call that mapped ``virt`` (a leaf, or what should be there), or that
        allocated the table below.
        """
        if entry is None:
            return None
        if entry.phys in self._sets:
            return self._sets[entry.phys]
        points_to_table = entry.value & PRESENT and not entry.is_leaf
        if points_to_table:
            return self._tables.get(entry.phys)
        mapping = self._intent.mapping_of(virt)
        return mapping.caller if mapping else None
