"""The address spaces as the page's scripts take them: how a CPU translates, as data, and the tables that it reaches."""

from __future__ import annotations

from dataclasses import field

from cr3scope import limits
from cr3scope.arrays import integers
from cr3scope.dataclass import dataclass
from cr3scope.paging.canonical import canonical
from cr3scope.paging.reach import stages
from cr3scope.paging.tables import Entries
from cr3scope.verdict.picture import Space
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import (
    CR0_WP,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    RFLAGS_AC,
    CpuState,
)
from cr3scope.x86.platform import Platform, Quirk


@dataclass(slots=True)
class Held:
    """The tables of one memory that are embedded, and the first address that each translates; ``is_cut``: there are
    more, past the budget."""

    tables: dict[int, Entries] = field(default_factory=dict)
    first: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # of a table at a level, and the depth of its space
    is_cut: bool = False

    def add(self, space: Space) -> None:
        """Add the tables that a walk of any address can meet, as many as the budget allows."""
        for stage in stages(space.tables, space.cpu):
            for row, (phys, virt) in enumerate(zip(integers(stage.phys), integers(stage.virt), strict=True)):
                if phys not in self.tables and len(self.tables) >= limits.REPORT_TABLES:
                    self.is_cut = True
                    return
                page = space.tables.table(phys & bits.PAGE_FRAME)
                if page is not None:
                    self.tables[phys & bits.PAGE_FRAME] = page
                self.first.setdefault((stage.form.level, phys), (virt, stage.depth))

    def address_of(self, entry: EntryRef) -> int | None:
        """Return the first address that an entry translates; None if it lies in no table that is held."""
        met = self.first.get((entry.level, entry.phys & bits.PAGE_FRAME))
        if met is None:
            return None
        virt, depth = met
        return canonical(virt + entry.index * entry.form.page_bytes, depth)


def as_dict(space: Space, platform: Platform, memory: int, is_cut: bool) -> dict[str, object]:
    """Return how a space translates; ``memory``: the number of the memory that holds its tables."""
    cpu = space.cpu
    return {
        "title": space.title,
        "cr3": f"{cpu.cr3:#x}",
        "root": f"{cpu.root:#x}",
        "memory": memory,
        "cut": is_cut,
        "levels": [_level(form, cpu, platform) for form in bits.formats_of(cpu)],
        "sign": None if cpu.has_short_addresses else bits.level_shift(cpu.levels) + 8,
        "width": 32 if cpu.has_short_addresses else 64,
        "loaded": cpu.pdptes and [f"{value:#x}" for value in cpu.pdptes],
        "cpu": _switches(cpu, platform),
    }


def _level(form: bits.EntryFormat, cpu: CpuState, platform: Platform) -> dict[str, object]:
    """What an entry of a level means. ``reserved``: without and with PS, what a walk faults for; ``frame``: the bits of a leaf that are those of its
    frame's address, of which ``high`` stand ``highShift`` bits further up; ``rights``: whether W, U and NX count."""
    return {
        "level": form.level,
        "name": bits.LEVEL_NAMES[form.level],
        "shift": form.shift,
        "entries": form.entries,
        "bytes": form.entry_bytes,
        "rights": form.has_rights,
        "frame": f"{form.frame_mask:#x}",
        "high": f"{form.high_mask:#x}",
        "highShift": bits.PSE36_SHIFT,
        "leaf": "always" if form.is_last else "ps" if form.takes_ps else "never",
        "reserved": [f"{form.checked_mask(ps, cpu, platform):#x}" for ps in (0, bits.LARGE)],
    }


def _switches(cpu: CpuState, platform: Platform) -> dict[str, object]:
    """What else decides about an access, by the names that `page/walk.js` uses."""
    return {
        "wp": bool(cpu.cr0 & CR0_WP),
        "tellsFetches": cpu.tells_fetches,
        "smep": bool(cpu.cr4 & CR4_SMEP),
        "smap": bool(cpu.cr4 & CR4_SMAP) and not cpu.rflags & RFLAGS_AC,
        "smapImplicit": bool(cpu.cr4 & CR4_SMAP),
        "userKeys": bool(cpu.cr4 & CR4_PKE) and not cpu.has_short_addresses,
        "supervisorKeys": bool(cpu.cr4 & CR4_PKS) and not cpu.has_short_addresses,
        "pkru": cpu.pkru,
        "pkrs": cpu.pkrs,
        "reservedWithoutPresent": platform.has(Quirk.RESERVED_WITHOUT_PRESENT),
        "wrapsAround": platform.has(Quirk.WRAPS_AROUND) or cpu.has_short_addresses,
        "absentIsZero": platform.has(Quirk.ABSENT_MEMORY_IS_ZERO),
    }
