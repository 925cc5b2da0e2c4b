"""A CR3 with flags, or with bits that the CPU ignores."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Message, as_messages
from cr3scope.x86.cpu_state import CR4_PCIDE
from cr3scope.x86.entry import CACHE_DISABLE, PAGE_OFFSET, WRITE_THROUGH

_FLAGS = WRITE_THROUGH | CACHE_DISABLE  # bits 4:3, as in an entry
_CACHING = {WRITE_THROUGH: "PWT: write-through", CACHE_DISABLE: "PCD: uncached"}


def _check(context: Context) -> Iterator[Finding]:
    cpu = context.cpu
    if cpu is None or cpu.cr4 & CR4_PCIDE or not cpu.cr3 & PAGE_OFFSET:
        return  # with PCIDE the low bits are the PCID
    ignored = cpu.cr3 & PAGE_OFFSET & ~_FLAGS
    said = [words for bit, words in _CACHING.items() if cpu.cr3 & bit]
    if ignored:
        said.append(f"bits {ignored:#x} are ignored, and no address of a page has them")
    yield RULE.finding(
        Message(f"CR3 is {cpu.cr3:#x}: it has flags beside the address {cpu.root:#x}"),
        *as_messages(f"{'; '.join(said)}\nwith CR4.PCIDE the same bits would be a PCID"),
    )


RULE = Rule(
    id="cr3-flags",
    title="CR3 holds more than an address",
    severity=Severity.WARNING,
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
)
