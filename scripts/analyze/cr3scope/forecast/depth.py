"""Tables that were made for another number of levels than the CPU walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.arrays import integers
from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.paging.cpu import CR4_LA57, CpuState
from cr3scope.paging.entry import PAGE_BYTES, PRESENT, is_leaf, level_bytes
from cr3scope.paging.walk import Translation, access, walk
from cr3scope.predict.code.course import Step
from cr3scope.rules import BY_ID
from cr3scope.verdict import Finding


def other_depth(now: StoppedCpu, cpu: CpuState, step: Step) -> Iterator[Finding]:
    """At most one finding, for a next instruction that the tables of ``cpu`` refuse.

    It is mapped where the current tables map it if the new ones are walked with one level more or less,
    and nothing near it is if they are walked as the CPU does. The second is needed: a page directory
    that maps by 2 MiB pages from 0 on, read one level higher, is one that maps by 1 GiB pages from 0 on.
    """
    if step.name != "next fetch":
        return
    other = replace(cpu, cr4=cpu.cr4 ^ CR4_LA57)
    found = access(now, other, step.virt, step.kind, platform=now.platform)
    if not isinstance(found, Translation) or found.phys != _now_at(now, step.virt):
        return
    if any(_is_carried_over(now, cpu, virt) for virt in _neighbours(now, cpu, step.virt)):
        return
    title = f"the tables have {other.levels} levels, the CPU walks {cpu.levels}"
    yield BY_ID["la57-mismatch"].finding(
        f"{title} (CR4.LA57={int(cpu.levels == 5)})",
        f"walked so, {step.virt:#x} is mapped where the current tables map it",
    )


def _neighbours(now: StoppedCpu, cpu: CpuState, virt: int) -> Iterator[int]:
    """What the other entries of the tables on the way to ``virt`` map. Never address 0: read at whatever
    depth, the first entries of tables for low memory lead to its beginning."""
    for entry in walk(now, cpu, virt, now.platform).entries:
        table = now.table(entry.phys & -PAGE_BYTES)
        size = level_bytes(entry.level)
        first = (virt & -size) - entry.index * size
        for index, value in enumerate(() if table is None else integers(table)):
            at = first + index * size
            if value & PRESENT and is_leaf(value, entry.level) and at:
                yield at


def _is_carried_over(now: StoppedCpu, cpu: CpuState, virt: int) -> bool:
    phys = walk(now, cpu, virt, now.platform).phys
    return phys is not None and phys == _now_at(now, virt)


def _now_at(now: StoppedCpu, virt: int) -> int | None:
    return walk(now, now.cpu, virt, now.platform).phys
