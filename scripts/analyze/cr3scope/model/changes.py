"""Changes of the tables that mend a refused access: bits of entries, or a page that is missing."""

from __future__ import annotations

from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Page:
    """A 4 KiB page that should be there, or a run of ``count`` in both address spaces."""

    virt: int
    frame: int
    rights: str
    count: int = 1

    @property
    def size(self) -> int:
        """Return how many bytes it covers."""
        return self.count * PAGE_BYTES


class Change(Enum):
    """What an edit does to an entry."""

    CLEAR_NX = "clear-nx"
    SET_WRITABLE = "set-writable"
    CLEAR_USER = "clear-user"
    SET_PRESENT = "set-present"
    CLEAR_RESERVED = "clear-reserved"


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one entry; ``value`` is what the entry then holds."""

    change: Change
    entry: EntryRef
    value: int


@dataclass(frozen=True, slots=True)
class Mend:
    """The smallest change that lets an access through, proved in the model; where the trace tells of what the
    page is a part, that of the whole part.

    It changes bits of entries (``edits``), or maps a ``page`` that is missing. ``no_ram``: neither helps, since
    the current tables lead RSP to this frame, where the machine has no RAM: RSP is wrong. ``as_now``: the frame
    of the page is the one behind the address in the tables in force now. ``goes_on``: more pages need the same
    than were looked at.
    """

    edits: tuple[Edit, ...] = ()
    page: Page | None = None
    no_ram: int | None = None
    as_now: bool = False
    goes_on: bool = False
