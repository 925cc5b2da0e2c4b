"""A double fault that has no stack of its own."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import LIVE, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.x86.exceptions import DOUBLE_FAULT
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    gate, now = context.gate(DOUBLE_FAULT), context.registers
    # A TSS that the GDT has no descriptor for was loaded by whoever ran before: its stacks are not this kernel's to name.
    if 0 < now.tr <= now.gdt_limit and gate is not None and gate.present and not gate.ist:
        yield RULE.finding(
            message("the double fault has no stack of its own: gate {gate} has IST 0", gate=DOUBLE_FAULT),
            message("a TSS is loaded (TR={tr:02x}h), which could name one", tr=Hex(now.tr)),
            Message("a stack that runs over its end is then a triple fault, without a word"),
        )


RULE = Rule(
    id="double-fault-stack",
    title="the double fault has no stack of its own",
    severity=Severity.WARNING,
    modes=LONG,
    reason=(
        "The usual cause of a double fault is a stack that cannot be pushed to. Its handler is entered on that same stack, unless "
        "its gate names another by its IST field: then the third fault resets the machine, and nothing is reported."
    ),
    shows="Nothing; of a stack overflow a triple fault instead of the handler's message.",
    fix="Give gate 8 an IST of 1 to 7, and fill in that field of the TSS with the top of a stack that is mapped in every address space.",
    manual="Intel SDM volume 3A, 7.14.5, 7.15 (interrupt 8)",
    check=_check,
    needs=LIVE,
)
