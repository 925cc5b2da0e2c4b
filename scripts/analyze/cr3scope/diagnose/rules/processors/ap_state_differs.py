"""Other CPUs see the same tables with other eyes."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.cpu_state import CR0_WP, CR4_LA57, CR4_PKE, CR4_PKS, CR4_SMAP, CR4_SMEP
from cr3scope.x86.mode import LONG


_CR4 = {CR4_LA57: "LA57", CR4_SMEP: "SMEP", CR4_SMAP: "SMAP", CR4_PKE: "PKE", CR4_PKS: "PKS"}


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    paged = start.paged if start is not None else None
    if start is None or paged is None:
        return
    differ = [f"CR4.{name}" for bit, name in _CR4.items() if (paged.cr4 ^ start.first.cr4) & bit]
    if (paged.cr0 ^ start.first.cr0) & CR0_WP:
        differ.append("CR0.WP")
    if not differ or start.is_left_changing and "CR4.LA57" not in differ:
        return
    severity = Severity.ERROR if "CR4.LA57" in differ else Severity.WARNING
    yield RULE.finding(
        message("the other CPUs have another {differ} than the boot CPU", differ=tuple(differ)),
        message("CR0={cr0}, CR4={cr4}; the boot CPU has CR0={first_cr0}, CR4={first_cr4}", cr0=Hex(paged.cr0), cr4=Hex(paged.cr4),
                first_cr0=Hex(start.first.cr0), first_cr4=Hex(start.first.cr4)),
        severity=severity,
    )  # fmt: skip


RULE = Rule(
    id="ap-state-differs",
    title="the other CPUs hold the same tables to other rules",
    severity=Severity.WARNING,
    modes=LONG,
    reason=(
        "CR0.WP, CR4.SMEP and SMAP decide what a supervisor may do with a page, CR4.LA57 how deep the tables are. "
        "Each CPU has its own, clear after INIT: a kernel that relies on a fault does not get it on a CPU where "
        "the bit is missing."
    ),
    shows=(
        "Nothing, until code relies on it: copy-on-write and write protection silently fail on the other CPUs. "
        "With another LA57 the other CPU dies at the mov to CR0."
    ),
    fix="Load CR0 and CR4 of the boot CPU on each other CPU (CR4.PCIDE only in 64-bit code).",
    manual="Intel SDM volume 3A, 2.5, 5.6 and table 11-1",
    check=_check,
    needs=TRACE,
)
