"""Where page tables come from: anything that can show a table page, as 512 entries of long mode."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from cr3scope.arrays import has_numpy
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ENTRIES, PAGE_FRAME, PAGE_OFFSET, EntryFormat, formats_of

if TYPE_CHECKING:  # numpy takes longer to load than a log to judge
    import numpy as np
    import numpy.typing as npt

Entries: TypeAlias = "npt.NDArray[np.uint64]"
_QUADS: Final = "Q"  # of memoryview and array: 64 bits
_FORMS = {4: "I", 8: _QUADS}


class Tables(Protocol):
    """Read access to table pages by physical address."""

    def table(self, phys: int) -> Entries | None:
        """Return the 512 entries of the table page at ``phys``; None if it is absent or unreadable."""


def entries_of(page: bytes) -> Entries:
    """Return a page's bytes as entries: numpy's, or where numpy is missing a view whose entries can be taken one by one."""
    if has_numpy():
        import numpy as np

        return np.frombuffer(page, dtype=np.uint64)
    return cast("Entries", memoryview(page).cast(_QUADS))


def table_entries(tables: Tables, form: EntryFormat, phys: int) -> Entries | None:
    """Return the entries of the table at ``phys``, each as a number of 64 bits; None if it is absent or unreadable."""
    page = tables.table(phys & PAGE_FRAME)
    if page is None or not form.is_legacy or form.entries == ENTRIES:
        return page
    first = (phys & PAGE_OFFSET) // form.entry_bytes
    if isinstance(page, memoryview):
        return page.cast("B").cast(_FORMS[form.entry_bytes])[first : first + form.entries]
    words = page.astype("<u8", copy=False).view(f"<u{form.entry_bytes}")
    return words[first : first + form.entries].astype("u8")


def root_entries(tables: Tables, cpu: CpuState) -> Entries | None:
    """Return the entries of the top table: in PAE paging the four that the CPU has loaded, where these are known.

    None if it is absent or unreadable, or nothing is paged.
    """
    formats = formats_of(cpu)
    if not formats:
        return None
    if formats[0].is_loaded and cpu.pdptes is not None:
        return entries_of(array(_QUADS, cpu.pdptes).tobytes())
    return table_entries(tables, formats[0], cpu.root)
