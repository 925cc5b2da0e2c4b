"""A root above 4 GiB, loaded by 32-bit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.message import Hex, message
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.mode import PAGED
from cr3scope.x86.word import FOUR_GIB, MASK32


def of_cpu(now: StoppedCpu, others: Sequence[StoppedCpu]) -> Iterator[Finding]:
    """Yield at most one finding: another CPU's root lies above 4 GiB, and this one's is its lower half."""
    mine = now.cpu.cr3
    if mine >= FOUR_GIB or now.code_bits == 64:
        return
    for other in others:
        root = other.cpu.cr3
        if other is not now and root >= FOUR_GIB and root & MASK32 & PAGE_FRAME == mine & PAGE_FRAME:
            yield RULE.finding(
                message("CR3={cr3} is the lower half of CPU {cpu}'s {root}", cr3=Hex(mine), cpu=other.number, root=Hex(root)),
                message("CPU {own} runs {bits}-bit code, in which CR3 has 32 bits", own=now.number, bits=now.code_bits),
            )
            return


RULE = Rule(
    id="cr3-truncated",
    title="CR3 lost its upper half",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "A mov to CR3 in 32-bit code loads 32 bits. The trampoline of an application processor that takes the root of the "
        "kernel's own tables, which lie above 4 GiB, loads another address: what is there is read as a PML4."
    ),
    shows="Only the other CPUs die, at the mov to CR0; CR3 in their dumps has the low half of the first one's.",
    fix="Give trampolines a top table below 4 GiB (a copy of the first level will do), and load the real one in 64-bit code.",
    manual="Intel SDM volume 3A, 11.8.5 and 5.1.2; volume 2B, MOV (control registers)",
)
