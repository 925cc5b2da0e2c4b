"""Other CPUs come to the kernel without an IDT."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    if start is None or start.seen.refused is not None or start.seen.bits != 64 or "idt" in start.seen.loads:
        return
    yield RULE.finding(
        message("the other CPUs come to 64-bit code without having loaded an IDT"),
        message("IDTR is what INIT leaves: base 0, limit FFFFh; their way is known up to {rip}", rip=Hex(start.last.rip)),
        Message("what runs behind that may still load one: until then each exception there is a triple fault"),
    )


RULE = Rule(
    id="ap-idt-not-loaded",
    title="the other CPUs have no IDT",
    severity=Severity.NOTE,
    modes=LONG,
    reason=(
        "IDTR is a register of each CPU; INIT sets its base to 0 and its limit to FFFFh. Until LIDT the gates are "
        "whatever lies from address 0 on: the first exception, even one that the kernel handles on the boot CPU, "
        "is a triple fault."
    ),
    shows=(
        "Nothing until the first exception; then v=08 and a triple fault on the other CPU, with IDT= 0 0000ffff "
        "in its registers."
    ),
    fix=(
        "Load the IDT (it may be the boot CPU's) in the code that each CPU starts with, before anything can "
        "fault."
    ),
    manual="Intel SDM volume 3A, table 11-1, 7.10 and 2.4.3",
    check=_check,
    needs=TRACE,
)
