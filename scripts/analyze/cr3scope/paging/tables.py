"""Where page tables come from: anything that can show the 512 entries of a table page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # numpy takes longer to load than a log to judge
    import numpy as np
    import numpy.typing as npt

Entries: TypeAlias = "npt.NDArray[np.uint64]"


class Tables(Protocol):
    """Read access to table pages by physical address."""

    def table(self, phys: int) -> Entries | None:
        """Return the 512 entries of the table page at ``phys``; None if it is absent or unreadable."""
