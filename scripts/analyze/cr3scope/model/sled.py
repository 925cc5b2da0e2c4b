"""A slide through zero bytes: 00 00 is ``add [rax], al``, so that a kernel of zeros runs until a
fault far from the mistake (Intel SDM volume 2A, ADD, opcode 00 /r).
"""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import Boot, MemoryContents, PlanStep, SegmentRecord
from cr3scope.message import Hex, Message, message
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, access
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.platform import Platform, Quirk

_SLIDE = Message("a slide through zero bytes: 00 00 is `add [rax], al`")


@dataclass(frozen=True, slots=True)
class Stop:
    """The fault in which a kernel stops that begins at ``step``, and why."""

    step: PlanStep
    fault: Fault
    why: Message


def slide(
    boot: Boot,
    tables: Tables,
    cpu: CpuState,
    entry: MemoryContents,
    step: PlanStep,
    platform: Platform,
) -> Stop | None:
    """Return where a kernel stops whose ``entry`` holds zeros; None if RAX is not known."""
    rax = boot.cpus["handoff"].registers.get("rax")
    segment = next((s for s in boot.segments if s.virt <= entry.virt <= s.last), None)
    if rax is None or segment is None:
        return None
    added = _add(tables, cpu, rax, platform)
    if added is not None:
        fault = Fault(added.vector, added.error_code, added.cr2, step.virt, cpu.cr3)
        return Stop(step, fault, message("{slide}, and RAX is {rax}, which cannot be written", slide=_SLIDE, rax=Hex(rax)))
    end = _end(tables, cpu, entry.virt, segment, platform) if _is_zero(boot, entry, segment) else None
    if end is None:
        unknown = Fault(exceptions.PAGE_FAULT, None, None, None, cpu.cr3)
        return Stop(step, unknown, message("{slide}, to an end that the capture does not tell", slide=_SLIDE))
    # An instruction has two bytes: over an odd distance the last one begins before the page.
    rip = end.virt - (end.virt - entry.virt) % 2
    fault = Fault(end.vector, end.error_code, end.cr2, rip, cpu.cr3)
    why = message("{slide}; it ends at {virt}, which cannot be executed", slide=_SLIDE, virt=Hex(end.virt))
    return Stop(step, fault, why)


def _add(tables: Tables, cpu: CpuState, rax: int, platform: Platform) -> PageFault | None:
    """The fault of a read and write of one byte. Hardware reports a write; TCG reads first, and
    reports that read where the page is absent (seen with QEMU 7.2)."""
    kinds = [AccessKind.WRITE]
    if platform.has(Quirk.READS_BEFORE_WRITE):
        kinds.insert(0, AccessKind.READ)
    for kind in kinds:
        found = access(tables, cpu, rax, kind, platform=platform)
        if isinstance(found, PageFault):
            return found
    return None


def _is_zero(boot: Boot, entry: MemoryContents, segment: SegmentRecord) -> bool:
    """Whether the zeros go on to the segment's end, as far as the trace tells.

    A segment that differs from its file at the entry already is taken as never loaded. One that is
    as its file goes on with the file's bytes, if it has any left.
    """
    seen = entry.virt + len(entry.data)
    if seen >= segment.virt + segment.filesz:
        return True
    loaded = [r for r in boot.loaded if (r.of, r.index) == (segment.of, segment.index)]
    return all(r.differs is not None and r.differs < seen for r in loaded)


def _end(
    tables: Tables, cpu: CpuState, entry: int, segment: SegmentRecord, platform: Platform
) -> PageFault | None:
    """The first page from the entry on that cannot be executed; None if the segment's own and the
    one behind them can: what lies there is not known."""
    virt = entry
    behind = (segment.last | PAGE_BYTES - 1) + 1
    while virt <= behind:
        found = access(tables, cpu, virt, AccessKind.FETCH, platform=platform)
        if isinstance(found, PageFault):
            return found
        virt = (virt | found.page_size - 1) + 1
    return None
