"""What else stops other CPUs on their way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.diagnose.rules.processors import (
    ap_cr3_truncated,
    ap_far_jump,
    ap_gdt_pointer,
    ap_mode_missing,
    ap_nxe_missing,
    ap_state_differs,
    ap_trampoline_unmapped,
)
from cr3scope.paging.reason import Reason
from cr3scope.x86.mode import LONG


_NARROW = (ap_gdt_pointer, ap_far_jump, ap_mode_missing, ap_cr3_truncated, ap_nxe_missing, ap_trampoline_unmapped)


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    if start is None or start.seen.refused is None or start.seen.fault is None:
        return
    own, veto = start.seen.own, start.seen.veto
    if veto is not None and veto.reason is Reason.TABLE_UNREADABLE:
        return  # they have tables that the trace does not hold
    if any(True for narrow in _NARROW for _ in narrow.RULE.check(context)):
        return
    if any(one.severity is Severity.ERROR for one in ap_state_differs.RULE.check(context)):
        return
    why = own.refused.why if own is not None else message("{fault}", fault=start.seen.fault)
    found = RULE.finding(
        message("the other CPUs fault at {virt} on their way: {why}", virt=Hex(start.last.pc), why=why),
        message("{fault}", fault=start.seen.fault),
    )
    yield replace(found, entry=veto.guilty[0]) if veto is not None and veto.guilty else found


RULE = Rule(
    id="ap-start-refused",
    title="an exception stops the other CPUs on their way",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "A CPU that was just started has no IDT until its code loads one: whatever it raises on the way through "
        "real, protected and long mode is a triple fault. The code that the trace holds was followed from its "
        "first instruction on."
    ),
    shows="The exception on the other CPU (in real mode QEMU logs none), then v=08 and a triple fault.",
    fix="See the instruction and the access that are named.",
    manual="Intel SDM volume 3A, 10.4.4, 11.9.1 and 11.8.5",
    check=_check,
    needs=TRACE,
)
