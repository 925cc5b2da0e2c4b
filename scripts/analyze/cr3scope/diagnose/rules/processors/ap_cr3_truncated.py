"""Other CPUs load half of CR3."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.mode import LONG
from cr3scope.x86.word import FOUR_GIB, MASK32


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    paged = start.paged if start is not None else None
    if start is None or paged is None or start.first.root < FOUR_GIB:
        return
    if paged.cr3 & PAGE_FRAME != start.first.root & MASK32:
        return
    yield RULE.finding(
        message("the other CPUs load {cr3} into CR3: the lower half of {root}", cr3=Hex(paged.cr3), root=Hex(start.first.root)),
        message("they turn paging on in 32-bit code, where a mov to CR3 has 32 bits"),
    )


RULE = Rule(
    id="ap-cr3-truncated",
    title="the other CPUs load half of CR3",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "A CPU that was just started turns paging on in 32-bit code. A mov to CR3 there loads 32 bits: of a top "
        "table above 4 GiB the lower half of its address, and whatever lies there is read as a top table."
    ),
    shows=(
        "The boot CPU is well; the other dies at the instruction behind the mov to CR0, with CR3 without its "
        "upper half."
    ),
    fix=(
        "Allocate the top table below 4 GiB, or give the trampoline a copy of it there, and load the real one in "
        "64-bit code."
    ),
    manual="Intel SDM volume 3A, 11.8.5; volume 2B, MOV (control registers)",
    check=_check,
    needs=TRACE,
)
