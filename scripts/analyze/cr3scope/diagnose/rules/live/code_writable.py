"""Code that is executed, and that a stray write changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import LIVE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.paging.walk import Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import WITH_NX


def _check(context: Context) -> Iterator[Finding]:
    code, stack = _mapped(context, context.registers.rip), _mapped(context, context.registers.rsp)
    if code is None or stack is None or "w" not in code.rights or "x" not in code.rights or "x" in stack.rights:
        return
    found = RULE.finding(
        message("the code that runs at {rip} can be written: {rights}", rip=Hex(context.registers.rip), rights=code.rights),
        message("the stack at {rsp} is mapped without execution ({stack_rights}): the kernel does tell code from data",
                rsp=Hex(context.registers.rsp), stack_rights=stack.rights),
    )  # fmt: skip
    yield replace(found, entry=code.leaf)


def _mapped(context: Context, virt: int) -> Translation | None:
    found = access(context.tables, context.cpu, virt, AccessKind.READ, platform=context.platform)
    return found if isinstance(found, Translation) else None


RULE = Rule(
    id="code-writable",
    title="code that is executed can be written",
    severity=Severity.WARNING,
    modes=WITH_NX,
    reason=(
        "A kernel that maps its data without execution means to keep code and data apart. Where its code is writable all the same, a "
        "stray write changes what is executed, and shows itself elsewhere: one segment for all, or rights that one call gave both."
    ),
    shows="Nothing: what should fault does not.",
    fix="Map each segment with its own rights; set CR0.WP, so that they count for the kernel too.",
    manual="Intel SDM volume 3A, 5.6.1",
    check=_check,
    needs=LIVE,
)
