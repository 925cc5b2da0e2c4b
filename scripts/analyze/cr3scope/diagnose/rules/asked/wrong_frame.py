"""A page that leads to another frame than the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.asked import (
    at_source,
    call_source,
    compared,
    finding_at,
    leaf_of,
    named,
)
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.names import range_words


def _check(context: Context) -> Iterator[Finding]:
    comparison = compared(context)
    if comparison is None:
        return
    for piece, others in named(list(comparison.elsewhere()), "lead elsewhere"):
        detail = "\n".join(_wanted(context, piece)) + others
        where = range_words(piece.virt, piece.last)
        title = f"{piece.label} at {where} leads to {piece.phys:#x}, the wrong frame"
        yield finding_at(RULE, context, piece, title, detail)


def _wanted(context: Context, piece: Piece) -> Iterator[str]:
    call, segment = piece.named, piece.segment
    if call is not None and call.frame(piece.virt) not in (None, piece.phys):
        source = at_source(call_source(context, piece))
        yield f"the `map` call{source} asked for frame {call.frame(piece.virt):#x}"
        entry = leaf_of(context, piece.virt)
        writer = at_source(context.attribution.source(entry, piece.virt))
        if writer not in ("", source):
            yield f"the entry was written later{writer}"
    elif segment is not None and segment.frame(piece.virt) not in (None, piece.phys):
        yield f"{segment.label} was loaded so that {segment.frame(piece.virt):#x} belongs there"
        if call is not None:
            source = at_source(call_source(context, piece))
            yield f"the `map` call{source} asked for {piece.phys:#x}"


RULE = Rule(
    id="wrong-frame",
    title="a page leads to the wrong frame",
    severity=Severity.ERROR,
    reason=(
        "The leaf is present and has its rights, but it holds another physical address: the "
        "offset into the segment was forgotten or counted twice, p_vaddr and p_paddr were mixed "
        "up, or the entry was overwritten. The CPU does not fault on that; it uses what lies "
        "there."
    ),
    shows="No fault at the page. Other code or data is found there, and anything may follow.",
    fix="Store frame = phys + (virt - start of the range) in each leaf.",
    manual="Intel SDM volume 3A, 5.5.4 (the address in a leaf)",
    check=_check,
)
