"""A CR3 with flags, or with bits that the CPU ignores."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.input.logs.event import InterruptRecord, RegisterDump
from cr3scope.message import Hex, Message, message
from cr3scope.x86.cpu_state import CR4_PAE, CR4_PCIDE
from cr3scope.x86.entry import CACHE_DISABLE, PAGE_OFFSET, PRESENT, WRITE_THROUGH
from cr3scope.x86.exceptions import PAGE_FAULT
from cr3scope.x86.mode import PAGED

_FLAGS = WRITE_THROUGH | CACHE_DISABLE  # bits 4:3, as in an entry
_PAE_OFFSET = 0x1F  # outside long mode, with CR4.PAE (SDM 3A, table 5-7)
_CACHING = {WRITE_THROUGH: "PWT: write-through", CACHE_DISABLE: "PCD: uncached"}


def _check(context: Context) -> Iterator[Finding]:
    cpu = context.cpu
    if cpu.cr4 & CR4_PCIDE or not cpu.cr3 & PAGE_OFFSET:
        return  # with PCIDE the low bits are the PCID
    yield RULE.finding(
        message(
            "CR3 is {cr3}: it has flags beside the address {root}", cr3=Hex(cpu.cr3), root=Hex(cpu.root)
        ),
        _flags(cpu.cr3 & PAGE_OFFSET),
        Message("with CR4.PCIDE the same bits would be a PCID"),
    )


def _flags(low_bits: int) -> Message:
    caching = tuple(words for bit, words in _CACHING.items() if low_bits & bit)
    ignored = Hex(low_bits & ~_FLAGS)
    if not ignored:
        return message("{caching:;}", caching=caching)
    if not caching:
        return message("bits {ignored} are ignored, and no address of a page has them", ignored=ignored)
    return message(
        "{caching:;}; bits {ignored} are ignored, and no address of a page has them",
        caching=caching, ignored=ignored,
    )  # fmt: skip


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    """Bits that the CPU ignores, and a page fault under them: the top table does not lie where CR3 says."""
    record = next((one.record for one in death.events if _is_of_paging(one.record)), None)
    if record is None or record.cr3 is None:
        return
    offset = _offset(record.cpu)
    ignored = record.cr3 & offset & ~_FLAGS
    if not ignored:
        return
    root = Hex(record.cr3 & ~offset)
    title = message("CR3 is {cr3}: not aligned, the CPU reads the top table at {root}", cr3=Hex(record.cr3), root=root)
    # An entry that was loaded with its flags leads where it should.
    severity = Severity.WARNING if ignored & PRESENT else Severity.ERROR
    yield RULE.finding(title, message("bits {ignored} are ignored", ignored=Hex(ignored)), severity=severity)


def _is_of_paging(record: InterruptRecord) -> bool:
    return record.is_exception and record.vector == PAGE_FAULT and record.cpu.has_paging is not False


def _offset(cpu: RegisterDump) -> int:
    """Bits of CR3 that are no part of the top table's address; 0 where the mode is not known."""
    if cpu.cr4 is None or cpu.cr4 & CR4_PCIDE:
        return 0
    if cpu.in_long_mode is None:
        return 0
    return _PAE_OFFSET if not cpu.in_long_mode and cpu.cr4 & CR4_PAE else PAGE_OFFSET


RULE = Rule(
    id="cr3-flags",
    title="CR3 holds more than an address",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "Bits 4:3 of CR3 are PWT and PCD: they choose how the top table is cached. The other low "
        "bits are ignored while CR4.PCIDE is clear. They come from a page-table entry that was "
        "loaded with its flags, or from an allocation that is not aligned to a page."
    ),
    shows=(
        "Nothing, on any emulator. Hardware reads the top table uncached or write-through, so that "
        "page walks are slow; a kernel that sets CR4.PCIDE with such a CR3 gets #GP(0)."
    ),
    fix="Load the bare physical address, aligned to 4096 bytes.",
    manual="Intel SDM volume 3A, 5.5.2 (tables 5-12 and 5-13), 5.9.2 and 5.10.1",
    check=_check,
    needs=SWITCH,
    logged=_logged,
)
