"""The address spaces that a verdict speaks of, for whoever draws them: references to what was judged, no copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.x86.platform import Platform

if TYPE_CHECKING:  # a log alone has none of it
    from cr3scope.diagnose.facts.attribution import Attribution
    from cr3scope.input.capture.records import Boot
    from cr3scope.model.intent import Intent
    from cr3scope.paging.tables import Entries, Tables
    from cr3scope.model.role import Role
    from cr3scope.verdict.source_texts import TextSource
    from cr3scope.x86.access import AccessKind
    from cr3scope.x86.cpu_state import CpuState


@dataclass(frozen=True, slots=True)
class Space:
    """One address space: the tables, and what else decides how the CPU translates by them. ``title`` says when."""

    title: str
    cpu: CpuState
    tables: Tables


@dataclass(frozen=True, slots=True)
class HeldTables:
    """Table pages that somebody has read of a guest that is gone by now, as bytes by their address."""

    pages: Mapping[int, bytes]

    def table(self, phys: int) -> Entries | None:
        """Return the entries as they were read; None for a page that was not."""
        import numpy as np  # a log alone needs no arrays

        page = self.pages.get(phys)
        return None if page is None else np.frombuffer(page, "<u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Step:
    """An access that was judged: as the plan names it, or what code that was followed makes it for. ``user``: at CPL 3;
    ``implicit``: the CPU reaches for a descriptor by itself."""

    name: str | Role
    kind: AccessKind
    virt: int
    width: int
    align: int = 1
    user: bool = False
    implicit: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """What can be drawn of one boot. ``judged`` is the space that the verdict is about, ``before`` the one in force
    before the switch, ``after`` the one at the end; None where nobody holds its tables.

    ``boot`` and ``intent``: what a trace tells; None without one. ``steps``: the accesses that were judged, in order.
    """

    judged: Space
    before: Space | None = None
    after: Space | None = None
    platform: Platform = Platform.HARDWARE
    boot: Boot | None = None
    intent: Intent | None = None
    attribution: Attribution | None = None
    texts: TextSource | None = None
    steps: tuple[Step, ...] = ()

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Return the spaces in the order in which they were in force."""
        return tuple(space for space in (self.before, self.judged, self.after) if space is not None)
