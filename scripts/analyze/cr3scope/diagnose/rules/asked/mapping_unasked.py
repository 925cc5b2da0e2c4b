"""A range that is mapped although no call asked for it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import first_few, range_finding, span
from cr3scope.message import Hex, message
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    pieces = sorted(asked.unasked, key=lambda piece: not _is_dangerous(piece.rights))
    for piece, others in first_few(pieces, "{more} more ranges are mapped unasked"):
        yield range_finding(
            RULE,
            context,
            piece,
            message("{range} is mapped, and nobody asked for it", range=span(piece)),
            message(
                "the tables lead to {phys} with {rights}, memory type {memory_type}; no `map` record covers it",
                phys=Hex(piece.phys),
                rights=piece.rights,
                memory_type=piece.memory_type,
            ),
            *others,
            severity=Severity.ERROR if _is_dangerous(piece.rights) else Severity.WARNING,
        )


def _is_dangerous(rights: str) -> bool:
    return "w" in rights or "x" in rights


RULE = Rule(
    id="mapping-unasked",
    title="a range is mapped that nobody asked for",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "An entry has P set though no call mapped that page: a table page that was not cleared, a "
        "stray write, an index one too far, or a large page that reaches beyond its range. The "
        "CPU cannot tell such an entry from one that was meant."
    ),
    shows=(
        "Nothing at the switch. Later a wild pointer reads, writes or executes where it should "
        "have faulted."
    ),
    fix="Clear the entry, or trace the call that maps the range.",
    manual="Intel SDM volume 3A, 5.5 (P decides whether an entry is used)",
    check=_check,
    needs=SWITCH,
)
