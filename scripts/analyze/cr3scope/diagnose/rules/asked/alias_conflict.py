"""Two mappings of one frame with different memory types."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.asked import at_source, call_source, compared, finding_at
from cr3scope.model.asked.aliases import Alias, conflicting_types
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.names import range_words


def _check(context: Context) -> Iterator[Finding]:
    comparison = compared(context)
    if comparison is None:
        return
    identity = comparison.of_role("identity")
    rest = ~identity
    for alias in islice(conflicting_types(comparison, rest, rest), MOST_NAMED):
        yield _finding(context, alias, Severity.WARNING)
    for alias in islice(conflicting_types(comparison, rest, identity), 1):
        yield _finding(context, alias, Severity.NOTE)


def _finding(context: Context, alias: Alias, severity: Severity) -> Finding:
    one, other = alias.one, alias.other
    detail = "\n".join(_words(context, piece) for piece in (one, other))
    if severity is Severity.NOTE:
        detail += "\nthe MTRRs decide what an identity map over a device's memory does"
    frames = range_words(alias.phys, alias.last)
    title = f"frames {frames} are {one.memory_type} and {other.memory_type} at two addresses"
    return finding_at(RULE, context, one, title, detail, severity)


def _words(context: Context, piece: Piece) -> str:
    source = at_source(call_source(context, piece))
    where = range_words(piece.virt, piece.last)
    return f"{piece.label}{source}: {where}, {piece.memory_type} (PAT index {piece.pat_index})"


RULE = Rule(
    id="alias-conflict",
    title="one frame has two memory types",
    severity=Severity.WARNING,
    reason=(
        "PAT, PCD and PWT belong to the virtual page, so two mappings of one frame can disagree. "
        "Writes through the write-combining or uncached one need not look into the caches that "
        "the other one fills. TCG has no caches and shows nothing; any CPU with caches may."
    ),
    shows="Nothing on an emulator; on hardware stale data, lost pixels, or a machine check.",
    fix=(
        "Map a frame with one memory type everywhere, and leave device memory out of identity "
        "maps."
    ),
    manual="Intel SDM volume 3A, 13.12.4 (programming the PAT)",
    check=_check,
)
