"""Where page tables come from: anything that can show the 512 entries of a table page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cr3scope.capture.records import Dump

Entries = npt.NDArray[np.uint64]


class Tables(Protocol):
    """Read access to table pages by physical address."""

    def table(self, phys: int) -> Entries | None:
        """The 512 entries of the table page at ``phys``; None if it is absent or unreadable."""


class DumpTables:
    """The table pages of a dump."""

    def __init__(self, dump: Dump) -> None:
        self._pages = dump.tables

    def table(self, phys: int) -> Entries | None:
        """The entries as they were dumped."""
        return self._pages.get(phys)
