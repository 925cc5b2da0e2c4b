"""An access to memory, the entry that it meets, and the exception that refuses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class AccessKind(Enum):
    """What an instruction does with an address."""

    FETCH = "fetch"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class EntryRef:
    """One page-table entry: ``phys`` is the entry's own address (table + 8 * index)."""

    level: int
    index: int
    phys: int
    value: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One exception as the CPU raises it. ``cr2`` and ``rip`` are None where not known.

    ``rsp`` is that before the CPU pushed anything, ``offset`` the record's place in the log: they tell
    no two faults apart.
    """

    vector: int
    error_code: int | None
    cr2: int | None
    rip: int | None
    cr3: int | None = None
    rsp: int | None = field(default=None, compare=False)
    offset: int | None = field(default=None, compare=False)
