"""Pages of 4 MiB without CR4.PSE."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CR4_PSE, CpuState, PagingMode
from cr3scope.x86.entry import LARGE
from cr3scope.x86.mode import BITS_32
from cr3scope.x86.platform import Platform

_LOW_BITS = 0x3FE000  # 21:13 of a large page's entry; a table lies at a multiple of 4 KiB, at any


def of_code(cpu: StoppedCpu, virt: int) -> Finding | None:
    """Return the finding on code that is read elsewhere than a large page would have it; None where none was meant."""
    entry = _entry(cpu, cpu.cpu, virt, cpu.platform)
    return None if entry is None else replace(RULE.finding(_title(entry), _cr4(cpu.cpu)), entry=entry)


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry = _entry(context.tables, context.cpu, strike.virt, context.platform)
    return None if entry is None else Claim(_title(entry), proof=(_cr4(context.cpu),), stands_alone=True, entry=entry)


def _entry(tables: Tables, cpu: CpuState, virt: int, platform: Platform) -> EntryRef | None:
    """The entry that would map an address by a large page, were there any."""
    if cpu.paging_mode is not PagingMode.BITS_32 or cpu.cr4 & CR4_PSE:
        return None
    path = walk(tables, cpu, virt, platform)
    entry = path.entries[0] if path.entries else None
    if entry is None or not entry.value & LARGE or entry.value & _LOW_BITS:
        return None
    return entry if walk(tables, replace(cpu, cr4=cpu.cr4 | CR4_PSE), virt, platform).stop is None else None


def _title(entry: EntryRef) -> Message:
    return message("{entry} has PS set, but CR4.PSE is 0: it maps no page of 4 MiB, and its frame is taken for a page table", entry=entry)


def _cr4(cpu: CpuState) -> Message:
    return message("CR4={cr4}", cr4=Hex(cpu.cr4))


RULE = Rule(
    id="large-pages-off",
    title="large pages are used, CR4.PSE is off",
    severity=Severity.ERROR,
    modes=BITS_32,
    reason=(
        "In 32-bit paging without PAE the bit PS of a page directory's entry counts with CR4.PSE alone. Without it the entry "
        "points to a page table, and the CPU reads entries out of the memory that was to be mapped: at address 0 the interrupt "
        "vectors of real mode."
    ),
    shows="v=0e at the instruction behind the mov to CR0, with CR4 of which bit 4 is clear in the dump.",
    fix="Set CR4.PSE (bit 4) before CR0.PG, or map by page tables.",
    manual="Intel SDM volume 3A, 5.3 and table 5-4; 2.5 (PSE)",
    claim=_claim,
    needs=SWITCH,
)
