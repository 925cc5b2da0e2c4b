"""The code that turns paging on is not mapped where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.access import AccessKind
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import LONG
from cr3scope.x86.names import covered


def _check(context: Context) -> Iterator[Finding]:
    start, startup = context.facts.ap_start, context.boot.startup
    if start is None or startup is None or start.paged is None:
        return
    refused, veto = start.seen.refused, start.seen.veto
    if refused is None or veto is None or refused.kind is not AccessKind.FETCH or start.paged.root != start.first.root:
        return
    if not startup.code <= veto.virt < startup.code + PAGE_BYTES or not veto.guilty or start.paged.paging_mode is not start.first.paging_mode:
        return
    entry = veto.guilty[0]
    found = RULE.finding(
        message("{virt}, where the other CPUs turn paging on, cannot be executed there: {entry} {reason}", virt=Hex(veto.virt),
                entry=entry, reason=veto.reason.of("").strip()),
        message("behind the mov to CR0 the next instruction is fetched from the same address, through the tables"),
    )  # fmt: skip
    yield replace(found, entry=entry, range=covered(entry, veto.virt), source=context.attribution.source(entry, veto.virt))


RULE = Rule(
    id="ap-trampoline-unmapped",
    title="the other CPUs' code is not mapped at its own address",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "The instruction behind the one that sets CR0.PG is fetched through the tables, from the linear address "
        "that was a physical one before. The page below 1 MiB in which a CPU starts must therefore be mapped at "
        "its own address, executable, in the tables that it loads."
    ),
    shows=(
        "v=0e e=0010 (e=0011 with NX) with CR2=RIP below 1 MiB on the other CPU, then a triple fault; the boot "
        "CPU is well."
    ),
    fix="Map the page at its own address, read and execute, until every CPU has come to the kernel.",
    manual="Intel SDM volume 3A, 11.8.5 (step 4) and 11.9.1",
    check=_check,
    needs=TRACE,
)
