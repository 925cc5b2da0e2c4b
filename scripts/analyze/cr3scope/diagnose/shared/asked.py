"""What the rules share that hold the tables against the trace's ``map`` calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Message, Origin, Span, message
from cr3scope.model.asked.compare import Piece
from cr3scope.model.intent import Named
from cr3scope.paging.walk import walk
from cr3scope.x86.access import EntryRef

_Item = TypeVar("_Item")


def first_few(found: Sequence[_Item], rest: str) -> Iterator[tuple[_Item, tuple[Message, ...]]]:
    """Yield the first few of ``found``, the last one with a message about the others.

    ``rest``: the template of that, in which ``{more}`` is how many they are.
    """
    unnamed = len(found) - MOST_NAMED
    for number, item in enumerate(found[:MOST_NAMED], 1):
        is_last = number == MOST_NAMED and unnamed > 0
        yield item, (message(rest, more=unnamed),) if is_last else ()


def leaf_of(context: Context, virt: int) -> EntryRef | None:
    """Return the entry that maps ``virt``; None if nothing does."""
    path = walk(context.tables, context.cpu, virt, context.platform)
    return path.leaf if path.stop is None else None


def call_source(context: Context, piece: Piece) -> str | None:
    """Return ``file:line`` of the call that asked for the range; None if it is not known."""
    return context.attribution.line(piece.named.caller) if piece.named else None


def map_call(context: Context, piece: Piece) -> Message:
    """Return the call that asked for the range, with its line in the source where that is known."""
    source = call_source(context, piece)
    return message("the `map` call at {source}", source=source) if source else Message("the `map` call")


def origin(context: Context, piece: Piece) -> Origin:
    """Return what a person calls the range, and the call that asked for it."""
    return Origin(piece.label, call_source(context, piece))


def origin_of_call(context: Context, named: Named) -> Origin:
    """Return what a person calls the range of a call, and that call."""
    return Origin(named.label, context.attribution.line(named.caller))


def span(piece: Piece) -> Span:
    """Return the addresses of the range."""
    return Span(piece.virt, piece.last)


def range_finding(
    rule: Rule,
    context: Context,
    piece: Piece,
    title: Message,
    *proof: Message,
    severity: Severity | None = None,
) -> Finding:
    """Return a finding of ``rule`` that names the range and the leaf at its start."""
    entry = leaf_of(context, piece.virt)
    return replace(
        rule.finding(title, *proof, severity=severity),
        entry=entry,
        range=(piece.virt, piece.last),
        source=context.attribution.source(entry, piece.virt),
    )
