"""Every range that the trace asked for, held against the tables: absent, or with weaker rights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from cr3scope import limits
from cr3scope.arrays import U64
from cr3scope.model.delivery import Delivery
from cr3scope.model.granted import KINDS, Granted, granted_by
from cr3scope.model.intent import Intent
from cr3scope.model.painted import Painted, bounds
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.canonical import next_canonical
from cr3scope.paging.reason import Reason
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, Translation, access, alike, behind
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, Gate, descriptor_offset
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers

if TYPE_CHECKING:
    import numpy.typing as npt

_LEFT_OUT = "what the tables refuse of all that was asked for"
_LETTERS = {AccessKind.READ: "r", AccessKind.WRITE: "w", AccessKind.FETCH: "x"}
# What every handler set must have before the kernel brings its own: #DF, #GP, #PF.
_VITAL_VECTORS = (14, 13, 8)


def ranges(
    tables: Tables, cpu: CpuState, intent: Intent, platform: Platform
) -> Iterator[Strike]:
    """Yield strikes for each part of a range that the tables refuse, one for each guilty entry, the first ones of very many.

    What a later call mapped otherwise, and guard pages, which are absent on purpose, are left out.
    """
    granted = granted_by(tables, cpu, platform)
    strikes = _refused_parts(tables, cpu, intent, platform, granted)
    yield from islice(strikes, limits.REFUSED_PARTS)
    if next(strikes, None) is not None:
        intent.left_out[_LEFT_OUT] = None


def _refused_parts(
    tables: Tables, cpu: CpuState, intent: Intent, platform: Platform, granted: Granted
) -> Iterator[Strike]:
    guards = Painted(region for region in intent.regions if region.role == "guard")
    asked = _asked(intent)
    steps = limits.SCAN_STEPS
    for number in granted.not_all(*asked):
        kind, virt, last = KINDS[asked[0][number]], int(asked[1][number]), int(asked[2][number])
        while virt <= last:
            steps -= 1
            if steps < 0:
                intent.left_out[_LEFT_OUT] = None
                return
            found = access(tables, cpu, virt, kind, platform=platform)
            if isinstance(found, Translation):
                if not found.entries:  # without paging nothing is refused
                    return
                virt = (virt & -found.page_size) + alike(tables, found.leaf, found.page_size) * found.page_size
                continue
            guard = guards.at(virt)
            if guard is not None:
                virt = guard.last + 1
                continue
            for entry in found.guilty or (None,):
                yield Strike(Target.RANGE, kind, virt, found.reason, entry)
            is_wild = found.reason is Reason.NON_CANONICAL
            virt = next_canonical(virt, cpu.levels) if is_wild else behind(found)


def _asked(intent: Intent) -> tuple[npt.NDArray[np.int8], U64, U64]:
    """Every access that was asked for: its kind, by its number in ``KINDS``, and its inclusive range, of each call those
    parts for which it counts. In the order of the calls; then the segments.
    """
    first, last, owner = intent.calls.columns()
    numbers = intent.call_numbers
    call = np.array([numbers[id(named)] for named in intent.calls.named], dtype=np.int64)[owner]
    segment_first, segment_last = bounds(intent.segments)
    first, last = np.concatenate([first, segment_first]), np.concatenate([last, segment_last])
    everything = [*intent.maps, *intent.segments]
    call = np.concatenate([call, np.arange(len(intent.maps), len(everything))])
    wanted = np.array([0 if named.role == "recursive" else _wanted(named.rights) for named in everything], dtype=np.int8)
    rows = [np.flatnonzero(wanted[call] >> number & 1) for number in range(len(KINDS))]
    kinds = np.repeat(np.arange(len(KINDS), dtype=np.int8), [len(some) for some in rows])
    row = np.concatenate(rows)
    order = np.lexsort((row, kinds, call[row]))
    return kinds[order], first[row][order], last[row][order]


@lru_cache(maxsize=64)
def _wanted(rights: str | None) -> int:
    """The kinds of access that some rights allow, a bit for each number in ``KINDS``."""
    return sum(1 << number for number, kind in enumerate(KINDS) if _LETTERS[kind] in (rights or ""))


def safety_net(delivery: Delivery, registers: Registers) -> Iterator[Strike]:
    """Yield strikes for what the first exception would need: gates, their code segment, the handlers."""
    if registers.mode is CpuMode.REAL:  # it has no gates
        return
    size = registers.mode.gate_bytes
    for vector in _VITAL_VECTORS:
        if size * (vector + 1) - 1 > registers.idt_limit:
            continue
        virt = registers.idt_base + size * vector
        found = delivery.reach(virt, AccessKind.READ, size)
        if isinstance(found, PageFault):
            yield from _all(Target.IDT, AccessKind.READ, found)
            continue
        data = delivery.memory.read(found.phys, size)
        if data is None:
            continue
        gate = Gate.decode(data)
        if gate.is_task:
            continue
        segment = registers.gdt_base + descriptor_offset(gate.selector)
        found = delivery.reach(segment, AccessKind.READ, DESCRIPTOR_BYTES)
        if isinstance(found, PageFault):
            yield from _all(Target.GDT, AccessKind.READ, found)
        found = delivery.reach(gate.target, AccessKind.FETCH)
        if isinstance(found, PageFault):
            yield from _all(Target.HANDLER, AccessKind.FETCH, found)


def _all(target: Target, kind: AccessKind, fault: PageFault) -> Iterator[Strike]:
    for entry in fault.guilty or (None,):
        yield Strike(target, kind, fault.virt, fault.reason, entry)
