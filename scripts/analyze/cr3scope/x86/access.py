"""An access to memory, the entry that it meets, and the exception that refuses it."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.x86.entry import EntryFormat, long_format


class AccessKind(Enum):
    """What an instruction does with an address."""

    FETCH = "fetch"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class EntryRef:
    """One page-table entry: ``phys`` is the entry's own address. ``legacy``: how it reads outside long mode."""

    level: int
    index: int
    phys: int
    value: int
    legacy: EntryFormat | None = None

    @classmethod
    def of(cls, form: EntryFormat, table: int, index: int, value: int) -> EntryRef:
        """Return the entry with that index of the table at ``table``."""
        return cls(form.level, index, table + form.entry_bytes * index, value, form if form.is_legacy else None)

    @property
    def form(self) -> EntryFormat:
        """Return how the entry reads."""
        return self.legacy or long_format(self.level)

    @property
    def is_leaf(self) -> bool:
        """Return whether the entry, if it is present, maps a page."""
        return self.form.is_leaf(self.value)

    @property
    def frame(self) -> int:
        """Return the physical address that the entry holds."""
        return self.form.frame(self.value)


@dataclass(frozen=True, slots=True)
class Fault:
    """One exception as the CPU raises it. ``cr2`` and ``rip`` are None where not known.

    ``rsp`` is that before the CPU pushed anything, ``offset`` the record's place in the log: they tell
    no two faults apart. Nor do ``is_fetch``, which an error code does not tell without NX and SMEP, and ``in_long_mode``, None
    if nobody knows: they are for whoever puts the error code into words.
    """

    vector: int
    error_code: int | None
    cr2: int | None
    rip: int | None
    cr3: int | None = None
    rsp: int | None = field(default=None, compare=False)
    offset: int | None = field(default=None, compare=False)
    is_fetch: bool = field(default=False, compare=False)
    in_long_mode: bool | None = field(default=None, compare=False)
