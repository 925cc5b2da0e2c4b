"""The smallest change of the tables that lets one access through, proved before it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile

from cr3scope.dataclass import dataclass
from cr3scope.model.intent import WRITTEN_ROLES, Meaning
from cr3scope.model.changes import Change, Edit, Mend, Page
from cr3scope.paging.walk import PageFault, Reason, access, walk
from cr3scope.target.overlay import Overlay
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import (
    ADDRESS_MASK,
    NO_EXECUTE,
    PAGE_BYTES,
    PAGE_FRAME,
    PAGE_OFFSET,
    PRESENT,
    USER,
    WRITABLE,
    formats_of,
    reserved_mask,
)
from cr3scope.x86.platform import Platform
from cr3scope.x86.word import FOUR_GIB

FrameOf = Callable[[int], int | None]

_CHANGE_OF = {
    Reason.NO_EXECUTE: Change.CLEAR_NX,
    Reason.READ_ONLY: Change.SET_WRITABLE,
    Reason.SMEP: Change.CLEAR_USER,
    Reason.SMAP: Change.CLEAR_USER,
    Reason.RESERVED: Change.CLEAR_RESERVED,
}


_MOST_PAGES = 2048  # of one part: 8 MiB; of the rest is said that it is the same


def levels(fault: PageFault) -> tuple[int, ...]:
    """Return the levels of the entries that veto, from the top."""
    return tuple(entry.level for entry in fault.guilty)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An access that is refused at ``virt``, and the part of the address space that was to grant it."""

    kind: AccessKind
    virt: int
    fault: PageFault
    part: tuple[int, int]

    @property
    def bounds(self) -> tuple[int, int]:
        """Return the first and the last page that are looked at."""
        here, reach = self.virt & -PAGE_BYTES, _MOST_PAGES * PAGE_BYTES
        first, last = self.part
        return max(first & -PAGE_BYTES, here - reach), min(last & -PAGE_BYTES, here + reach)

    @property
    def others(self) -> Iterator[int]:
        """Yield the pages of the part but the one that was struck."""
        first, last = self.bounds
        return (page for page in range(first, last + 1, PAGE_BYTES) if page != self.virt & -PAGE_BYTES)

    def is_like(self, fault: PageFault) -> bool:
        """Return whether a fault has the same reason, in entries of the same levels."""
        return fault.reason is self.fault.reason and levels(fault) == levels(self.fault)

    @property
    def goes_on(self) -> bool:
        """Return whether the part is larger than what is looked at."""
        first, last = self.bounds
        return self.part[0] < first or self.part[1] > last | PAGE_OFFSET


@dataclass(frozen=True, slots=True)
class Mender:
    """Proposes mends for one CPU and one loader's intent.

    ``frame_of`` says which frame was meant for an address, so that a missing page is not mapped to
    an invented one.
    """

    cpu: CpuState
    intent: Meaning
    frame_of: FrameOf
    platform: Platform

    def mend(
        self, tables: Overlay, kind: AccessKind, fault: PageFault, part: tuple[int, int] | None = None
    ) -> Mend | None:
        """Mend ``tables`` in place and say how; return None, and change nothing, if no change would be right.

        The mend stands only if this fault is then gone from the model; another may lie behind it. ``part``: the
        inclusive range of pages that were to grant this access alike; what lacks the same there is mended, too.
        """
        virt = fault.virt
        if not fault.guilty or self._is_wrong_address(kind, virt):
            return None
        trial = tables.fork()
        mend = self._propose(trial, _Wanted(kind, virt, fault, part or (virt, virt)))
        if mend is None or self._persists(trial, kind, fault):
            return None
        tables.adopt(trial)
        return mend

    def _persists(self, trial: Overlay, kind: AccessKind, fault: PageFault) -> bool:
        found = access(trial, self.cpu, fault.virt, kind, platform=self.platform)
        if isinstance(found, PageFault):
            return found.reason is fault.reason
        frame = self.frame_of(fault.virt)
        # Reserved bits can be a part of a wrong frame: without them it is as wrong.
        wrong = frame is not None and found.phys & -PAGE_BYTES != frame
        return wrong and fault.reason is Reason.RESERVED

    def _is_wrong_address(self, kind: AccessKind, virt: int) -> bool:
        """A fetch from what somebody named, but nobody meant as code: the jump is wrong."""
        return kind is AccessKind.FETCH and self.intent.is_code(virt) is False

    def _propose(self, trial: Overlay, wanted: _Wanted) -> Mend | None:
        if wanted.fault.reason is Reason.NOT_PRESENT:
            return self._present(trial, wanted)
        change = _CHANGE_OF.get(wanted.fault.reason)
        if change is None:
            return None
        edits = self._edit(trial, change, wanted.fault)
        if change is not Change.CLEAR_RESERVED:  # they can be a part of a wrong frame, each of another
            for page in wanted.others:
                found = access(trial, self.cpu, page, wanted.kind, platform=self.platform)
                if isinstance(found, PageFault) and wanted.is_like(found) and self._is_alike(wanted, page):
                    edits += self._edit(trial, change, found)
        return Mend(tuple(edits), goes_on=wanted.goes_on)

    def _is_alike(self, wanted: _Wanted, page: int) -> bool:
        """What was asked for the page is what was asked for the one that was struck."""
        return self.intent.rights_at(page) == self.intent.rights_at(wanted.virt)

    def _edit(self, trial: Overlay, change: Change, fault: PageFault) -> list[Edit]:
        edits = [Edit(change, entry, self._changed(change, entry)) for entry in fault.guilty]
        for edit in edits:
            trial.set(edit.entry, edit.value)
        return edits

    def _changed(self, change: Change, entry: EntryRef) -> int:
        if change is Change.CLEAR_NX:
            return entry.value & ~NO_EXECUTE
        if change is Change.SET_WRITABLE:
            return entry.value | WRITABLE
        if change is Change.CLEAR_USER:
            return entry.value & ~USER
        return entry.value & ~reserved_mask(entry.level, entry.value, self.cpu, self.platform)

    def _present(self, trial: Overlay, wanted: _Wanted) -> Mend | None:
        virt, missing = wanted.virt, wanted.fault.guilty[0]
        frame = self.frame_of(virt)
        if missing.value & ADDRESS_MASK and self._leads_to(trial, missing, virt, frame):
            return Mend((Edit(Change.SET_PRESENT, missing, missing.value | PRESENT),))
        if frame is None or missing.form.is_short and frame >= FOUR_GIB:
            return None
        trial.set(missing, missing.value)
        rights, bits = self._rights(wanted.kind, virt)
        here = virt & -PAGE_BYTES
        _map(self.cpu, trial, missing, here, frame | bits)
        first, last = wanted.bounds
        follows = partial(self._follows, trial, wanted, frame - here, bits)
        above = sum(1 for _ in takewhile(follows, range(here + PAGE_BYTES, last + 1, PAGE_BYTES)))
        below = sum(1 for _ in takewhile(follows, range(here - PAGE_BYTES, first - 1, -PAGE_BYTES)))
        start = below * PAGE_BYTES
        return Mend(page=Page(here - start, frame - start, rights, below + 1 + above), goes_on=wanted.goes_on)

    def _follows(self, trial: Overlay, wanted: _Wanted, distance: int, bits: int, page: int) -> bool:
        """Map one more page of the part, if it is missing, too, and its frame was to lie at this distance."""
        path = walk(trial, self.cpu, page, self.platform)
        frame = self.frame_of(page)
        if path.stop is not Reason.NOT_PRESENT or frame != page + distance or not self._is_alike(wanted, page):
            return False
        _map(self.cpu, trial, path.leaf, page, frame | bits)
        return True

    def _leads_to(self, trial: Overlay, missing: EntryRef, virt: int, frame: int | None) -> bool:
        """Whether the entry is whole but for its P bit: it then leads to the frame that was meant."""
        trial.set(missing, missing.value | PRESENT)
        found = access(trial, self.cpu, virt, AccessKind.READ, platform=self.platform)
        if isinstance(found, PageFault):
            return False
        return frame is None or found.phys & PAGE_FRAME == frame

    def _rights(self, kind: AccessKind, virt: int) -> tuple[str, int]:
        """Rights as asked for by the trace, and at least those that the access needs."""
        asked = self.intent.rights_at(virt) or ""
        write = "w" in asked or kind is AccessKind.WRITE
        write = write or (not asked and self.intent.role_at(virt) in WRITTEN_ROLES)
        execute = "x" in asked or kind is AccessKind.FETCH
        rights = f"r{'w' if write else '-'}{'x' if execute else '-'}"
        return rights, _leaf_bits(rights, self.cpu)


def apply(tables: Overlay, cpu: CpuState, mend: Mend) -> None:
    """Carry out a mend in ``tables``; KeyError if it names an entry of a table that they do not have.

    Of an entry only the bits change that the mend is about: others may have been mended before.
    """
    for edit in mend.edits:
        old = tables.entry(edit.entry)
        tables.set(edit.entry, old & ~(edit.entry.value & ~edit.value) | edit.value & ~edit.entry.value)
    page = mend.page
    for offset in range(0, page.size if page else 0, PAGE_BYTES):
        assert page is not None
        path = walk(tables, cpu, page.virt + offset)
        if path.stop is Reason.NOT_PRESENT:
            _map(cpu, tables, path.leaf, page.virt + offset, page.frame + offset | _leaf_bits(page.rights, cpu))


def _leaf_bits(rights: str, cpu: CpuState) -> int:
    bits = PRESENT | (WRITABLE if "w" in rights else 0)
    return bits if "x" in rights or not cpu.has_nx else bits | NO_EXECUTE


def _map(cpu: CpuState, trial: Overlay, missing: EntryRef, virt: int, leaf: int) -> None:
    """Make the entry of the lowest level, and each table on the way to it from ``missing`` on."""
    entry = missing
    for form in formats_of(cpu)[-missing.level + 1 :] if missing.level > 1 else ():
        table = trial.add_table(entry)
        trial.set(entry, table | PRESENT | (WRITABLE if entry.form.has_rights else 0))
        entry = EntryRef.of(form, table, form.index(virt), 0)
    trial.set(entry, leaf)
