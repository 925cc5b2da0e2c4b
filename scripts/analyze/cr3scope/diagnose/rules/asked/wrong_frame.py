"""A page that leads to another frame than the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import (
    call_source,
    first_few,
    leaf_of,
    map_call,
    range_finding,
    span,
)
from cr3scope.message import Hex, Message, message
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    for piece, others in first_few(asked.elsewhere, "{more} more ranges lead elsewhere"):
        title = message(
            "{name} at {range} leads to {phys}, the wrong frame",
            name=piece.label,
            range=span(piece),
            phys=Hex(piece.phys),
        )
        yield range_finding(RULE, context, piece, title, *_wanted(context, piece), *others)


def _wanted(context: Context, piece: Piece) -> Iterator[Message]:
    asked = piece.named.frame(piece.virt) if piece.named else None
    loaded = piece.segment.frame(piece.virt) if piece.segment else None
    call = map_call(context, piece)
    if asked is not None and asked != piece.phys:
        yield message("{call} asked for frame {asked}", call=call, asked=Hex(asked))
        writer = context.attribution.source(leaf_of(context, piece.virt), piece.virt)
        if writer not in (None, call_source(context, piece)):
            yield message("the entry was written later at {writer}", writer=writer)
    elif piece.segment is not None and loaded is not None and loaded != piece.phys:
        yield message(
            "{segment} was loaded so that {loaded} belongs there",
            segment=piece.segment.label,
            loaded=Hex(loaded),
        )
        if piece.named is not None:
            yield message("{call} asked for {phys}", call=call, phys=Hex(piece.phys))


RULE = Rule(
    id="wrong-frame",
    title="a page leads to the wrong frame",
    severity=Severity.ERROR,
    modes=PAGED,
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
    needs=SWITCH,
)
