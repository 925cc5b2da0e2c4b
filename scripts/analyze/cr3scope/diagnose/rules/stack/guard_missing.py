"""The page below a stack is mapped, so that an overflow goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Hex, Span, message
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    for guard, found in context.facts.open_guards:
        yield RULE.finding(
            message("{name} at {range} is mapped", name=guard.label, range=Span(guard.virt, guard.last)),
            message(
                "{virt} leads to {phys}: an overflow overwrites that silently",
                virt=Hex(found.virt), phys=Hex(found.phys),
            ),
        )  # fmt: skip


RULE = Rule(
    id="guard-missing",
    title="a guard page is mapped",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "The page below a stack is left out on purpose, so that an overflow faults at once. A range "
        "that was mapped one page too long, or by a large page, covers it."
    ),
    shows="Nothing: an overflow silently overwrites whatever lies below the stack.",
    fix="Leave the page below each stack unmapped, and map the stack with 4 KiB pages.",
    manual="Intel SDM volume 3A, 5.7",
    check=_check,
    needs=SWITCH,
)
