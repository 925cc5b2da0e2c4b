"""Other CPUs without EFER.NXE."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.paging.reason import Reason
from cr3scope.x86.entry import NO_EXECUTE
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    paged = start.paged if start is not None else None
    if start is None or paged is None or not start.first.has_nx or paged.has_nx:
        return
    if start.first.paging_mode is not paged.paging_mode or start.first.root != paged.root:
        return
    refused = start.seen.refused
    if start.is_left_changing or not _uses_nx(context):
        return
    severity = Severity.WARNING
    meets = message("to them it is a reserved bit, and the first access that meets one is #PF with RSVD")
    if refused is not None and start.seen.veto is not None and start.seen.veto.reason is Reason.RESERVED:
        severity = Severity.ERROR
        meets = message("{access} of {virt} meets one at {rip}", access=refused.kind, virt=Hex(start.seen.veto.virt), rip=Hex(refused.registers.pc))
    yield RULE.finding(
        message("the other CPUs turn paging on without EFER.NXE, and these tables use bit 63"),
        message("EFER={efer}, on the boot CPU {first}", efer=Hex(paged.efer), first=Hex(start.first.efer)), meets,
        severity=severity,
    )


def _uses_nx(context: Context) -> bool:
    return any((stage.present & stage.has(NO_EXECUTE)).any() for stage in context.facts.stages)


RULE = Rule(
    id="ap-nxe-missing",
    title="EFER.NXE is set on the boot CPU alone",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "EFER is a register of each CPU, clear after INIT. Bit 63 of an entry is reserved until NXE is set there: "
        "tables that the boot CPU uses refuse every access through an entry with NX."
    ),
    shows="v=0e e=0009 or 000b on the other CPU (RSVD), then a triple fault; the boot CPU is well.",
    fix="Set EFER.NXE together with LME in the code that each CPU starts with.",
    manual="Intel SDM volume 3A, 5.6.1, table 5-19, and 2.2.1",
    check=_check,
    needs=TRACE,
)
