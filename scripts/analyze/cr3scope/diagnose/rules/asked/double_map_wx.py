"""A frame that is writable at one address and executable at another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.asked import at_source, call_source, compared, finding_at
from cr3scope.message import Message, as_messages
from cr3scope.model.asked.aliases import Alias, common
from cr3scope.model.asked.compare import Comparison, Piece
from cr3scope.x86.names import range_words


def _check(context: Context) -> Iterator[Finding]:
    comparison = compared(context)
    if comparison is None:
        return
    writable, executable = comparison.granting("w", but="x"), comparison.granting("x", but="w")
    for alias in islice(common(comparison, writable, executable), MOST_NAMED):
        yield _finding(context, alias)
    yield from _on_purpose(context, comparison)


def _finding(context: Context, alias: Alias) -> Finding:
    frames, one, other = range_words(alias.phys, alias.last), alias.one, alias.other
    title = f"frames {frames} are writable at {_where(one)}, executable at {_where(other)}"
    detail = "\n".join(_words(context, piece) for piece in (one, other))
    return finding_at(RULE, context, one, title, detail)


def _where(piece: Piece) -> str:
    return f"{piece.virt:#x} ({piece.label})"


def _words(context: Context, piece: Piece) -> str:
    source = at_source(call_source(context, piece))
    return f"{piece.label}{source}: {range_words(piece.virt, piece.last)}, {piece.rights}"


def _on_purpose(context: Context, comparison: Comparison) -> Iterator[Finding]:
    """One note for what was asked to be both in one place: that is a decision, not a slip."""
    for piece in comparison.pieces(comparison.granting("wx")):
        named = piece.named
        if named is not None and {"w", "x"} <= set(named.rights or ""):
            finding = RULE.finding(
                Message(f"{named.label} is writable and executable, as it was asked for"),
                *as_messages(_words(context, piece)),
                severity=Severity.NOTE,
            )
            where, source = (piece.virt, piece.last), call_source(context, piece)
            yield replace(finding, range=where, source=source)
            return


RULE = Rule(
    id="double-map-wx",
    title="one frame is writable and executable",
    severity=Severity.ERROR,
    reason=(
        "Rights belong to the virtual page, not to the frame: two mappings of one frame can be "
        "read-execute and read-write. Whoever writes through the second changes the code behind "
        "the first, which W^X is there to forbid."
    ),
    shows="Nothing: no access faults. Code changes without any fault on its own address.",
    fix=(
        "Map each frame either writable or executable; keep a patch window only while it is in "
        "use."
    ),
    manual="Intel SDM volume 3A, 5.6.1 (rights are those of the linear address)",
    check=_check,
)
