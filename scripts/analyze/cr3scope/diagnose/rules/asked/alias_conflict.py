"""Two mappings of one frame with different memory types."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import origin, range_finding, span
from cr3scope.message import Fact, Message, Span, message
from cr3scope.model.asked.aliases import Alias
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    for alias in asked.conflicting:
        yield _finding(context, alias, Severity.WARNING)
    if asked.conflicting_with_identity is not None:
        yield _finding(context, asked.conflicting_with_identity, Severity.NOTE)


def _finding(context: Context, alias: Alias, severity: Severity) -> Finding:
    title = message(
        "frames {frames} are {one_type} and {other_type} at two addresses",
        frames=Span(alias.phys, alias.last),
        one_type=alias.one.memory_type,
        other_type=alias.other.memory_type,
    )
    proof = [_mapping(context, "one", alias.one), _mapping(context, "other", alias.other)]
    if severity is Severity.NOTE:
        proof.append(Message("the MTRRs decide what an identity map over a device's memory does"))
    return range_finding(RULE, context, alias.one, title, *proof, severity=severity)


def _mapping(context: Context, which: str, piece: Piece) -> Message:
    template = f"{{{which}}}: {{{which}_range}}, {{{which}_type}} (PAT index {{{which}_pat_index}})"
    facts: dict[str, Fact] = {
        which: origin(context, piece), f"{which}_range": span(piece), f"{which}_type": piece.memory_type,
        f"{which}_pat_index": piece.pat_index,
    }  # fmt: skip
    return message(template, **facts)


RULE = Rule(
    id="alias-conflict",
    title="one frame has two memory types",
    severity=Severity.WARNING,
    modes=PAGED,
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
    needs=SWITCH,
)
