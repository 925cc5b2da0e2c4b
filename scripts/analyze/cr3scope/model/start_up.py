"""Another CPU at its start-up interrupt, as a trace tells of it (Intel SDM volume 3A, table 11-1 and 10.4.4.2)."""

from __future__ import annotations

from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.records import Boot, MemoryContents, StartupRecord
from cr3scope.paging.tables import Entries
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import MOST_LIMIT
from cr3scope.x86.platform import Platform
from cr3scope.x86.segment import Segment, in_real_mode

CODE, DATA = "ap-code", "ap-data"  # names of `memory` records
_WHEN = "handoff"
_CR0_AFTER_INIT = 0x60000010  # CD, NW, ET
_CS_SHIFT = 8


class _TracedMemory:
    """The tables of a dump, and the bytes of the block below 1 MiB but for those that are filled in later."""

    def __init__(self, tables: DumpTables, pieces: list[tuple[int, bytes]]) -> None:
        self._tables, self._pieces = tables, pieces

    def table(self, phys: int) -> Entries | None:
        """Return the entries as they were dumped; None for a page that was not."""
        return self._tables.table(phys)

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many bytes as the trace holds without a hole."""
        for begin, data in self._pieces:
            if begin <= phys < begin + len(data):
                return data[phys - begin :][:length]
        return b""


def block_of(boot: Boot) -> tuple[StartupRecord, MemoryContents, MemoryContents] | None:
    """Return how a boot starts its other CPUs: the record, its code and its data; None if it does not tell."""
    code, data = boot.memories.get((CODE, _WHEN)), boot.memories.get((DATA, _WHEN))
    if boot.startup is None or code is None or data is None or "new" not in boot.dumps:
        return None
    return boot.startup, code, data


def started_cpu(boot: Boot, first: CpuState, platform: Platform) -> StoppedCpu | None:
    """Return another CPU as it is at its first instruction; None if the boot does not tell how it is started.

    ``first`` is the state of the boot CPU, whose physical addresses are as wide.
    """
    block = block_of(boot)
    if block is None:
        return None
    startup, code, data = block
    later = min(startup.later, len(data.data))
    memory = _TracedMemory(DumpTables(boot.dumps["new"]), [(code.virt, code.data), (data.virt + later, data.data[later:])])
    selector = startup.vector << _CS_SHIFT
    flat = Segment(limit=MOST_LIMIT)
    segments = {name: in_real_mode(0) for name in ("DS", "ES", "SS", "FS", "GS")}
    return StoppedCpu(
        memory, {"CR0": _CR0_AFTER_INIT, "RFL": 2}, first.max_phys_bits, {"CS": selector},
        idt=Table(0, MOST_LIMIT), gdt=Table(0, MOST_LIMIT), number=1, code_bits=16, platform=platform, is_recorded=True,
        segments={**segments, "CS": in_real_mode(selector), "TR": flat, "LDT": flat},
    )  # fmt: skip
