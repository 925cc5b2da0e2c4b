"""One dump on other CPUs: which of them refuse an access that this boot's own CPU grants.

Only states that can refuse more are variants. CR0.WP=0, a set EFER.NXE, an Intel CPU instead of an
AMD one, more address bits and 1 GiB pages only ever refuse less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from cr3scope import limits
from cr3scope.arrays import integers
from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import PlanStep
from cr3scope.model import interrupt
from cr3scope.model.intent import Intent, Named
from cr3scope.paging.reason import Reason
from cr3scope.paging.tables import Tables, table_entries
from cr3scope.paging.walk import PageFault, Walk, access, refusal_elsewhere, walk
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR0_WP, CR4_LA57, CR4_SMAP, CR4_SMEP, EFER_NXE, CpuState
from cr3scope.x86.entry import (
    ACCESSED,
    ADDRESS_MASK,
    DIRTY,
    LARGE,
    LEAST_PHYS_BITS,
    PAGE_BYTES,
    PAGE_FRAME,
    PRESENT,
)
from cr3scope.x86.word import MASK64

_KINDS = (("r", AccessKind.READ), ("w", AccessKind.WRITE), ("x", AccessKind.FETCH))
_LEFT_OUT = "what other CPUs would refuse in all that was asked for"


@dataclass(frozen=True, slots=True)
class Variant:
    """Another CPU, or another state of this one; ``label`` is what people call it."""

    label: str
    state: Callable[[CpuState], CpuState]


def _with_phys_bits(bits: int, cpu: CpuState) -> CpuState:
    return replace(cpu, max_phys_bits=bits)


NXE_CLEAR = Variant(
    "an AP that has not set EFER.NXE", lambda cpu: replace(cpu, efer=cpu.efer & ~EFER_NXE)
)
WRITE_PROTECT = Variant("a CPU with CR0.WP=1", lambda cpu: replace(cpu, cr0=cpu.cr0 | CR0_WP))
SMEP_SMAP = Variant(
    "SMEP and SMAP on", lambda cpu: replace(cpu, cr4=cpu.cr4 | CR4_SMEP | CR4_SMAP)
)
AMD = Variant("an AMD CPU", lambda cpu: replace(cpu, is_amd=True))
NO_GIGAPAGES = Variant("a CPU without 1 GiB pages", lambda cpu: replace(cpu, has_1g_pages=False))
FEWER_PHYS_BITS = tuple(
    Variant(f"a CPU with MAXPHYADDR {bits}", partial(_with_phys_bits, bits)) for bits in (36, 39, 40, 46)
)
ANYWHERE = (WRITE_PROTECT, *FEWER_PHYS_BITS, NO_GIGAPAGES)  # whichever CPUs this machine has
LA57_ON = Variant("a CPU with CR4.LA57=1", lambda cpu: replace(cpu, cr4=cpu.cr4 | CR4_LA57))
LA57_OFF = Variant("a CPU with CR4.LA57=0", lambda cpu: replace(cpu, cr4=cpu.cr4 & ~CR4_LA57))

VARIANTS = (
    NXE_CLEAR, WRITE_PROTECT, SMEP_SMAP, AMD, NO_GIGAPAGES, *FEWER_PHYS_BITS, LA57_ON, LA57_OFF
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """An access that a variant refuses: by a step of the plan, or to a range that was asked for."""

    variant: Variant
    kind: AccessKind
    fault: PageFault
    step: PlanStep | None
    named: Named | None


def judge(
    tables: Tables, cpu: CpuState, probes: Sequence[Probe], variants: Sequence[Variant] = VARIANTS
) -> Iterator[Refusal]:
    """Yield what other CPUs refuse of some accesses, variant by variant, in their order.

    All are judged by what the manuals say.
    """
    paths: dict[int, Walk] = {}
    for variant in variants:
        state = variant.state(cpu)
        if state == cpu:
            continue
        is_alike = (state.root, state.paging_mode) == (cpu.root, cpu.paging_mode)
        for probe in probes:
            if is_alike and probe.virt not in paths:
                paths[probe.virt] = walk(tables, cpu, probe.virt)
            if is_alike and paths[probe.virt].stop is None:
                fault = refusal_elsewhere(paths[probe.virt], state, probe.kind)
            else:
                found = access(tables, state, probe.virt, probe.kind)
                fault = found if isinstance(found, PageFault) else None
            if fault is not None:
                yield Refusal(variant, probe.kind, fault, probe.step, probe.named)


def cannot_be_here(refusal: Refusal, intent: Intent) -> bool:
    """Return whether no such CPU runs this machine: the address that it refuses for its bits is that of memory
    or a device.

    Where nobody said what should be there, it is taken for one.
    """
    entry, virt = refusal.fault.guilty[0], refusal.fault.virt
    if refusal.variant not in FEWER_PHYS_BITS:
        return False
    if not entry.is_leaf:
        return True  # the walk of the boot's own CPU has read the table
    phys = entry.frame + virt % entry.form.page_bytes & -PAGE_BYTES
    meant = intent.frame_of(virt)
    if meant is None or meant == phys:
        return True
    return phys in intent.memory


@dataclass(frozen=True, slots=True)
class Probe:
    """An access that the boot's own CPU grants."""

    virt: int
    kind: AccessKind
    step: PlanStep | None = None
    named: Named | None = None


def probes(tables: Tables, cpu: CpuState, plan: Iterable[PlanStep], intent: Intent) -> Iterator[Probe]:
    """Yield the accesses of a boot that its own CPU grants: of the plan, then of the ranges that were asked for.

    Of accesses that every CPU treats alike, only the first is told.
    """
    return _Probes(tables, cpu, intent).of(plan)


class _Probes:
    """The accesses of a boot, each kind of path once."""

    def __init__(self, tables: Tables, cpu: CpuState, intent: Intent) -> None:
        self._tables = tables
        self._cpu = cpu
        self._intent = intent
        self._seen: set[tuple[AccessKind, tuple[int, ...]]] = set()
        self._steps = iter(range(limits.PROBE_STEPS))
        self._is_over = False

    def of(self, plan: Iterable[PlanStep]) -> Iterator[Probe]:
        for step in plan:
            if not interrupt.is_hardware(step):
                meant = self._intent.frame_of(step.virt)
                phys = None if meant is None else meant + step.virt % PAGE_BYTES
                last = step.virt + max(step.width, 1) - 1
                for virt, path in self._runs(step.virt, last, phys):
                    if self._is_new(virt, step.kind, path):
                        yield Probe(virt, step.kind, step)
        for named in [*self._intent.maps, *self._intent.segments]:
            if self._is_over:
                return
            if named.role == "recursive" or named.rights is None:
                continue
            kinds = [kind for letter, kind in _KINDS if letter in named.rights]
            for virt, path in self._runs(named.virt, named.last, named.phys):
                if named.caller is not None and self._intent.mapping_of(virt) is not named:
                    continue  # a later call mapped this page otherwise
                for kind in kinds:
                    if self._is_new(virt, kind, path):
                        yield Probe(virt, kind, named=named)

    def _is_new(self, virt: int, kind: AccessKind, path: tuple[int, ...]) -> bool:
        """Whether no such path was met before, and the boot's own CPU grants the access."""
        if (kind, path) in self._seen:
            return False
        self._seen.add((kind, path))
        return not isinstance(access(self._tables, self._cpu, virt, kind), PageFault)

    def _runs(
        self, first: int, last: int, phys: int | None
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Addresses of a range where the walk comes to a page, with what is particular of their paths, each such path once a table.

        ``phys``: the frame that was meant for ``first``. Only how a leaf's frame differs from what
        was meant is particular of it.
        """
        virt = first
        while virt <= last:
            if next(self._steps, None) is None:
                self._is_over = True
                self._intent.left_out[_LEFT_OUT] = None
                return
            path = walk(self._tables, self._cpu, virt)
            if not path.entries:
                return
            leaf, size = path.leaf, path.leaf.form.page_bytes
            start = virt & -size
            if path.stop is not None:  # refused here too
                virt = start + self._refused_alike(path) * size
                continue
            count = min(self._like(path), (last - start) // size + 1)
            above = tuple(e.value & ~_alike_bits(PAGE_BYTES) for e in path.entries[:-1])
            entries = table_entries(self._tables, leaf.form, leaf.phys & PAGE_FRAME)
            assert entries is not None
            unlike = MASK64 & ~_alike_bits(size)
            meant = 0 if phys is None else phys + start - first & MASK64 & -size
            if count == 1:  # no column is worth it
                value = (int(entries[leaf.index]) ^ (meant & ADDRESS_MASK)) & unlike
                yield virt, (*above, value)
                virt = start + size
                continue
            particular = entries[leaf.index : leaf.index + count]
            present = np.flatnonzero(particular & np.uint64(PRESENT))
            particular = particular[present]
            if phys is not None:
                frames = present.astype(np.uint64) * np.uint64(size) + np.uint64(meant)
                particular = particular ^ (frames & np.uint64(ADDRESS_MASK))
            values, first_of = np.unique(particular & np.uint64(unlike), return_index=True)
            for place, value in sorted(zip(integers(present[first_of]), integers(values))):
                yield max(start + place * size, first), (*above, value)
            virt = start + count * size

    def _like(self, path: Walk) -> int:
        """How many entries, from the path's last one on, may be leaves of its level."""
        leaf = path.leaf
        if leaf.form.is_last:
            return leaf.form.entries - leaf.index
        entries = table_entries(self._tables, leaf.form, leaf.phys & PAGE_FRAME)
        assert entries is not None
        others = np.flatnonzero(~entries[leaf.index :] & np.uint64(LARGE))
        return int(others[0]) if others.size else leaf.form.entries - leaf.index

    def _refused_alike(self, path: Walk) -> int:
        """How many entries, from the one on where a walk stopped, stop it alike; at least 1."""
        if path.stop is not Reason.NOT_PRESENT:
            return 1
        entries = table_entries(self._tables, path.leaf.form, path.leaf.phys & PAGE_FRAME)
        assert entries is not None
        present = np.flatnonzero(entries[path.leaf.index :] & np.uint64(PRESENT))
        return int(present[0]) if present.size else path.leaf.form.entries - path.leaf.index


def _alike_bits(page_size: int) -> int:
    """The bits of an entry that no CPU looks at when it decides whether to grant an access."""
    return (1 << LEAST_PHYS_BITS) - page_size | ACCESSED | DIRTY
