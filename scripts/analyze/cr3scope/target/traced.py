"""A trace's boot beside the machine that stands at its switch: the machine's own memory counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.arrays import integers
from cr3scope.input.capture.records import Boot, Dump, MemoryContents
from cr3scope.paging.reach import stages
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3, switch_at_pc

_NEW = "new"


def plans_this_switch(boot: Boot, now: StoppedCpu) -> bool:
    """Return whether the boot's plan is of the `mov cr3` at the PC: CR3 will be the planned one."""
    record = boot.cpus.get("handoff")
    if record is None or not boot.plan or switch_at_pc(now) is None:
        return False
    return record.registers.get("cr3") == new_cr3(now)


def as_it_stands(boot: Boot, now: StoppedCpu) -> Boot:
    """Return the boot with the tables and the recorded memory as they are now, whatever the trace says of them.

    The boot must plan this switch (:func:`plans_this_switch`). Memory that cannot be read stays as recorded. What
    the loader's own walk found is left out if somebody has written to the tables since.
    """
    live, recorded = _dump(boot, now), boot.dumps.get(_NEW)
    preflight = boot.preflight if recorded is not None and _are_equal(live, recorded) else []
    memories = dict(_memories(boot, now))
    rehearsal = boot.rehearsal if preflight is boot.preflight else []
    return replace(boot, dumps={**boot.dumps, _NEW: live}, memories=memories, preflight=preflight, rehearsal=rehearsal)


def _are_equal(one: Dump, other: Dump) -> bool:
    return one.tables.keys() == other.tables.keys() and all(
        np.array_equal(entries, other.tables[phys]) for phys, entries in one.tables.items()
    )


def _dump(boot: Boot, now: StoppedCpu) -> Dump:
    cpu = replace(now.cpu, cr3=new_cr3(now))
    tables = {
        phys: stage.entries[number]
        for stage in stages(now, cpu)
        for number, phys in enumerate(integers(stage.phys))
    }
    recorded = boot.dumps.get(_NEW)
    line = recorded.line if recorded else 0
    return Dump(line, _NEW, cpu.cr3, cpu.levels, tables, recorded.unreadable if recorded else frozenset())


def _memories(boot: Boot, now: StoppedCpu) -> Iterator[tuple[tuple[str, str], MemoryContents]]:
    for key, recorded in boot.memories.items():
        data = now.bytes_at(recorded.virt, len(recorded.data))
        yield key, replace(recorded, data=data) if len(data) == len(recorded.data) else recorded
