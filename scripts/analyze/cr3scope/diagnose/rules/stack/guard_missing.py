"""The page below a stack is mapped, so that an overflow goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Hex, Span, message
from cr3scope.model.granted import granted_by
from cr3scope.model.intent import Named
from cr3scope.paging.walk import Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    for guard in context.intent.regions:
        if guard.role != "guard":
            continue
        found = _mapped(context, guard)
        if found is not None:
            yield RULE.finding(
                message("{name} at {range} is mapped", name=guard.label, range=Span(guard.virt, guard.last)),
                message(
                    "{virt} leads to {phys}: an overflow overwrites that silently",
                    virt=Hex(found.virt), phys=Hex(found.phys),
                ),
            )  # fmt: skip


def _mapped(context: Context, guard: Named) -> Translation | None:
    """The first part of it that can be read."""
    for virt in granted_by(context.tables, context.cpu, context.platform).mapped(guard.virt, guard.last):
        found = access(context.tables, context.cpu, virt, AccessKind.READ, platform=context.platform)
        if isinstance(found, Translation):
            return found
    return None


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
