"""CR4.PCIDE was set while CR3 had low bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import BEFORE_ALL_STEPS, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.x86.cpu_state import CR3_PCID, CR4_PCIDE
from cr3scope.x86.mode import PROTECTED


def _check(context: Context) -> Iterator[Finding]:
    entry, handoff = (context.boot.cpus.get(when) for when in ("entry", "handoff"))
    if entry is None or handoff is None:
        return
    if not handoff.registers.get("cr4", 0) & CR4_PCIDE or entry.registers.get("cr4", 0) & CR4_PCIDE:
        return
    cr3 = entry.registers.get("cr3", 0)
    if not cr3 & CR3_PCID:
        return
    finding = RULE.finding(
        message(
            "CR4.PCIDE is set under CR3={cr3}, whose bits 11:0 are {low_bits}",
            cr3=Hex(cr3), low_bits=Hex(cr3 & CR3_PCID),
        ),
        Message("PCIDE is clear at the loader's entry and set at the handoff: #GP(0) at mov to CR4, before the switch"),
    )  # fmt: skip
    yield replace(finding, step=BEFORE_ALL_STEPS)


RULE = Rule(
    id="pcide-order",
    title="CR4.PCIDE is set while CR3 has low bits",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "Once CR4.PCIDE is set, CR3[11:0] is a process-context identifier. The CPU lets PCIDE go "
        "from 0 to 1 only while these bits are zero; PWT and PCD (bits 4:3), or bits that were "
        "ignored until then, count too. A PCID can be loaded only afterwards."
    ),
    shows="v=0d e=0000 at mov to CR4, on every CPU with PCID; CR3 is still the old one.",
    fix="Load a CR3 whose bits 11:0 are zero, set CR4.PCIDE, then load the CR3 with its PCID.",
    manual="Intel SDM volume 3A, 2.5 (CR4.PCIDE) and 5.10.1; AMD APM volume 2, 5.5.1",
    check=_check,
)
