"""Effective rights that allow more than was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import first_few, map_call, range_finding, span
from cr3scope.message import Message, message
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.mode import PAGED

_READ_ONLY_ROLES = frozenset({"text", "rodata", "trampoline"})
_VERB = {"w": "written", "x": "executed", "u": "used by user code"}


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    found = sorted(asked.stronger, key=lambda pair: not _is_grave(*pair))
    for (piece, letters), others in first_few(found, "{more} more ranges grant more than was asked"):
        title = message(
            "{name} at {range} may be {unasked:and}",
            name=piece.label,
            range=span(piece),
            unasked=tuple(_VERB[letter] for letter in letters),
        )
        proof = (*_asked(context, piece, letters), *others)
        severity = Severity.ERROR if _is_grave(piece, letters) else Severity.WARNING
        yield range_finding(RULE, context, piece, title, *proof, severity=severity)


def _is_grave(piece: Piece, letters: str) -> bool:
    """Code that can be written, by no wish of the loader: where its call asked, it is a habit."""
    call = piece.named
    if call is not None and set(letters) <= set(call.rights or ""):
        return False
    makes_both = "w" in piece.rights and "x" in piece.rights and bool(set(letters) & {"w", "x"})
    role = (call.role, piece.segment.role if piece.segment else "") if call else ("", "")
    return makes_both or ("w" in letters and bool(_READ_ONLY_ROLES & set(role)))


def _asked(context: Context, piece: Piece, letters: str) -> Iterator[Message]:
    call, segment = piece.named, piece.segment
    if segment is not None and not set(letters) <= set(segment.rights or ""):
        yield message(
            "{segment} has the flags {flags}, the tables grant {granted}",
            segment=segment.label, flags=segment.rights, granted=piece.rights,
        )  # fmt: skip
    if call is not None:
        yield message(
            "{call} asked for {asked}, the tables grant {granted}",
            call=map_call(context, piece), asked=call.rights, granted=piece.rights,
        )  # fmt: skip


RULE = Rule(
    id="rights-stronger",
    title="the tables allow more than was asked",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "An entry has R/W or U/S set, or NX clear, where the call or the ELF segment did not ask "
        "for it: a default value for all leaves, an entry changed later, or a large page that "
        "several ranges share. Every level must grant a right, so the leaf and all its parents "
        "do."
    ),
    shows=(
        "Nothing at the switch: a stray write into code goes unnoticed, an exploit has an easy "
        "life."
    ),
    fix="Take the leaf's R/W, U/S and NX from what was asked for this page.",
    manual="Intel SDM volume 3A, 5.6.1 (access rights combine over the levels)",
    check=_check,
    yields=True,
    needs=SWITCH,
)
