"""Every range that the trace asked for, held against the tables: absent, or with weaker rights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cr3scope import limits
from cr3scope.model.delivery import Delivery
from cr3scope.model.granted import Granted, granted_by
from cr3scope.model.intent import Intent
from cr3scope.model.painted import Painted
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.canonical import next_canonical
from cr3scope.paging.reason import Reason
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, Translation, access, alike, behind
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, GATE_BYTES, Gate
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers
from cr3scope.x86.word import MASK64

_LEFT_OUT = "what the tables refuse of all that was asked for"
_KINDS = (("r", AccessKind.READ), ("w", AccessKind.WRITE), ("x", AccessKind.FETCH))
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
    parts: dict[int, list[tuple[int, int]]] = {}
    for first, last, named in intent.calls.parts():
        parts.setdefault(id(named), []).append((first, last))
    wanted = [(named, parts.get(id(named), [])) for named in intent.maps]
    wanted += [(named, [(named.virt, min(named.last, MASK64))]) for named in intent.segments]
    asked = [
        (named, kind, part)
        for named, own in wanted
        if named.role != "recursive" and named.rights is not None
        for letter, kind in _KINDS
        if letter in named.rights
        for part in own
    ]
    steps = limits.SCAN_STEPS
    for number in granted.not_all([(kind, *part) for _, kind, part in asked]):
        _, kind, (virt, last) = asked[number]
        while virt <= last:
            steps -= 1
            if steps < 0:
                intent.left_out[_LEFT_OUT] = None
                return
            found = access(tables, cpu, virt, kind, platform=platform)
            if isinstance(found, Translation):
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


def safety_net(delivery: Delivery, registers: Registers) -> Iterator[Strike]:
    """Yield strikes for what the first exception would need: gates, their code segment, the handlers."""
    for vector in _VITAL_VECTORS:
        if GATE_BYTES * (vector + 1) - 1 > registers.idt_limit:
            continue
        virt = registers.idt_base + GATE_BYTES * vector
        found = delivery.reach(virt, AccessKind.READ, GATE_BYTES)
        if isinstance(found, PageFault):
            yield from _all(Target.IDT, AccessKind.READ, found)
            continue
        data = delivery.memory.read(found.phys, GATE_BYTES)
        if data is None:
            continue
        gate = Gate.decode(data)
        segment = registers.gdt_base + (gate.selector & ~7)
        found = delivery.reach(segment, AccessKind.READ, DESCRIPTOR_BYTES)
        if isinstance(found, PageFault):
            yield from _all(Target.GDT, AccessKind.READ, found)
        found = delivery.reach(gate.offset, AccessKind.FETCH)
        if isinstance(found, PageFault):
            yield from _all(Target.HANDLER, AccessKind.FETCH, found)


def _all(target: Target, kind: AccessKind, fault: PageFault) -> Iterator[Strike]:
    for entry in fault.guilty or (None,):
        yield Strike(target, kind, fault.virt, fault.reason, entry)
