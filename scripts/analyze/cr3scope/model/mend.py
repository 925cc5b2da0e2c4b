"""The smallest change of the tables that lets one access through, proved before it is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cr3scope.model.intent import WRITTEN_ROLES, Meaning
from cr3scope.model.changes import Change, Edit, Mend, Page
from cr3scope.paging.walk import PageFault, Reason, access
from cr3scope.target.overlay import Overlay
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import (
    ADDRESS_MASK,
    NO_EXECUTE,
    PAGE_BYTES,
    PAGE_FRAME,
    PRESENT,
    USER,
    WRITABLE,
    level_index,
    reserved_mask,
)
from cr3scope.x86.platform import Platform

FrameOf = Callable[[int], int | None]

_CHANGE_OF = {
    Reason.NO_EXECUTE: Change.CLEAR_NX,
    Reason.READ_ONLY: Change.SET_WRITABLE,
    Reason.SMEP: Change.CLEAR_USER,
    Reason.SMAP: Change.CLEAR_USER,
    Reason.RESERVED: Change.CLEAR_RESERVED,
}


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

    def mend(self, tables: Overlay, kind: AccessKind, fault: PageFault) -> Mend | None:
        """Mend ``tables`` in place and say how; return None, and change nothing, if no change would be right.

        The mend stands only if this fault is then gone from the model; another may lie behind it.
        """
        virt = fault.virt
        if not fault.guilty or self._is_wrong_address(kind, virt):
            return None
        trial = tables.fork()
        mend = self._propose(trial, kind, virt, fault)
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

    def _propose(
        self, trial: Overlay, kind: AccessKind, virt: int, fault: PageFault
    ) -> Mend | None:
        if fault.reason is Reason.NOT_PRESENT:
            return self._present(trial, kind, virt, fault.guilty[0])
        return self._edit(trial, fault)

    def _edit(self, trial: Overlay, fault: PageFault) -> Mend | None:
        change = _CHANGE_OF.get(fault.reason)
        if change is None:
            return None
        edits = [Edit(change, entry, self._changed(change, entry)) for entry in fault.guilty]
        for edit in edits:
            trial.set(edit.entry.phys, edit.value)
        return Mend(tuple(edits))

    def _changed(self, change: Change, entry: EntryRef) -> int:
        if change is Change.CLEAR_NX:
            return entry.value & ~NO_EXECUTE
        if change is Change.SET_WRITABLE:
            return entry.value | WRITABLE
        if change is Change.CLEAR_USER:
            return entry.value & ~USER
        return entry.value & ~reserved_mask(entry.level, entry.value, self.cpu, self.platform)

    def _present(
        self, trial: Overlay, kind: AccessKind, virt: int, missing: EntryRef
    ) -> Mend | None:
        frame = self.frame_of(virt)
        if missing.value & ADDRESS_MASK and self._leads_to(trial, missing, virt, frame):
            return Mend((Edit(Change.SET_PRESENT, missing, missing.value | PRESENT),))
        if frame is None:
            return None
        trial.set(missing.phys, missing.value)
        leaf = missing
        while leaf.level > 1:
            table = trial.add_table(leaf)
            trial.set(leaf.phys, table | PRESENT | WRITABLE)
            level = leaf.level - 1
            index = level_index(virt, level)
            leaf = EntryRef(level, index, table + 8 * index, 0)
        rights, bits = self._rights(kind, virt)
        trial.set(leaf.phys, frame | bits)
        return Mend(page=Page(virt & -PAGE_BYTES, frame, rights))

    def _leads_to(self, trial: Overlay, missing: EntryRef, virt: int, frame: int | None) -> bool:
        """Whether the entry is whole but for its P bit: it then leads to the frame that was meant."""
        trial.set(missing.phys, missing.value | PRESENT)
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
        bits = PRESENT | (WRITABLE if write else 0)
        if not execute and self.cpu.has_nx:
            bits |= NO_EXECUTE
        return rights, bits
