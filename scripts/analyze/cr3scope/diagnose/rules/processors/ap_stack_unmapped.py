"""A stack that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.paging.walk import PageFault, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import LONG
from cr3scope.x86.names import covered
from cr3scope.x86.word import MASK64, QWORD


def _check(context: Context) -> Iterator[Finding]:
    told = 0
    for ap in sorted(context.boot.aps, key=lambda one: one.cpu):
        virt = ap.stack - QWORD & MASK64
        refused = access(context.tables, context.cpu, virt, AccessKind.WRITE, False, QWORD, platform=context.platform)
        if not isinstance(refused, PageFault) or told == MOST_NAMED:
            continue
        told += 1
        named = next((one.name for one in context.intent.regions if virt in one), None)
        where = message("{virt} lies in {name}", virt=Hex(virt), name=named) if named else message("RSP begins at {top}", top=Hex(ap.stack))
        found = RULE.finding(
            message("the first push of CPU {cpu} goes to {virt}, which cannot be written: {reason}", cpu=ap.cpu, virt=Hex(virt),
                    reason=refused.reason), where,
        )  # fmt: skip
        entry = refused.guilty[0] if refused.guilty else None
        yield found if entry is None else replace(found, entry=entry, range=covered(entry, virt))


RULE = Rule(
    id="ap-stack-unmapped",
    title="the stack of another CPU is not mapped",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "A stack grows down from its top. A CPU that is given its lowest address, or the top of a stack that the "
        "tables do not have, faults at its first push; where its TSS is not loaded yet no handler can run either."
    ),
    shows="v=0e e=0002 on the other CPU with CR2 = RSP - 8, then v=08 and a triple fault.",
    fix=(
        "Hand over the address one past the stack's last byte, and map each CPU's stack before the CPU is "
        "started."
    ),
    manual="Intel SDM volume 3A, 10.4.4; volume 1, 6.2",
    check=_check,
    needs=TRACE,
)
