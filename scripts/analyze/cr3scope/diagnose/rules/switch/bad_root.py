"""CR3 is not the top table that the loader built."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.strike import Strike
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    roots = [t.phys for t in context.boot.tables if t.parent == 0 and t.level == context.cpu.levels]
    root = context.cpu.root
    if not roots or root in roots:
        return None
    other = next((t for t in context.boot.tables if t.phys == root), None)
    top = Hex(roots[0])
    if other is None:
        title = message(
            "CR3 points to {root}, no table of the loader's; the top table is at {top_table}",
            root=Hex(root), top_table=top,
        )  # fmt: skip
    else:
        title = message(
            "CR3 points to {root}, a table of level {level}; the top table is at {top_table}",
            root=Hex(root), level=other.level, top_table=top,
        )  # fmt: skip
    return Claim(title, stands_alone=True)


def _check(context: Context) -> Iterator[Finding]:
    dump = context.boot.dumps.get("new")
    if dump is not None and dump.root_is_unreadable and not SWITCH <= context.there:
        yield RULE.finding(
            message("CR3 points to {root}, where the loader could not read a table", root=Hex(dump.cr3)),
            message("what the CPU finds there is not known: nothing is foreseen"),
        )


RULE = Rule(
    id="bad-root",
    title="CR3 is not the top table",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Whatever CR3 points to is read as a top table. Given a lower table, a pointer to a pointer, or "
        "the address of a variable, the walk finds entries that mean something else, or nothing."
    ),
    shows="v=0e e=0010 at the first instruction after mov cr3, and nothing can be delivered: form A.",
    fix="Load CR3 with the physical address of the top table itself.",
    manual="Intel SDM volume 3A, 5.5.2 (use of CR3)",
    claim=_claim,
    check=_check,
)
