"""Effective rights that allow more than was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.asked import at_source, call_source, compared, finding_at, named
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.names import range_words

_READ_ONLY_ROLES = frozenset({"text", "rodata", "trampoline"})
_VERB = {"w": "written", "x": "executed", "u": "used by user code"}


def _check(context: Context) -> Iterator[Finding]:
    comparison = compared(context)
    if comparison is None:
        return
    found = sorted(comparison.stronger(), key=lambda pair: not _is_grave(*pair))
    for (piece, letters), others in named(found, "grant more than was asked"):
        detail = "\n".join(_asked(context, piece, letters)) + others
        may = " and ".join(_VERB[letter] for letter in letters)
        title = f"{piece.label} at {range_words(piece.virt, piece.last)} may be {may}"
        severity = Severity.ERROR if _is_grave(piece, letters) else Severity.WARNING
        yield finding_at(RULE, context, piece, title, detail, severity)


def _is_grave(piece: Piece, letters: str) -> bool:
    """Code that can be written, by no wish of the loader: where its call asked, it is a habit."""
    call = piece.named
    if call is not None and set(letters) <= set(call.rights or ""):
        return False
    makes_both = "w" in piece.rights and "x" in piece.rights and bool(set(letters) & {"w", "x"})
    role = (call.role, piece.segment.role if piece.segment else "") if call else ("", "")
    return makes_both or ("w" in letters and bool(_READ_ONLY_ROLES & set(role)))


def _asked(context: Context, piece: Piece, letters: str) -> Iterator[str]:
    call, segment = piece.named, piece.segment
    if segment is not None and not set(letters) <= set(segment.rights or ""):
        yield f"{segment.label} has the flags {segment.rights}, the tables grant {piece.rights}"
    if call is not None:
        source = at_source(call_source(context, piece))
        yield f"the `map` call{source} asked for {call.rights}, the tables grant {piece.rights}"


RULE = Rule(
    id="rights-stronger",
    title="the tables allow more than was asked",
    severity=Severity.ERROR,
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
)
