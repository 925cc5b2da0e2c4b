"""Rights that were asked for and are missing, where the plan's supervisor does not notice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import map_call, range_finding, span
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.message import Message, message
from cr3scope.model.asked.told import Denied
from cr3scope.x86.access import EntryRef
from cr3scope.x86.mode import PAGED

_NO_USER = "user code cannot use {name} at {range}"
_NO_WRITE = "with CR0.WP set nobody can write {name} at {range}"


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    for denied in asked.denied:
        yield _finding(context, denied)


def _finding(context: Context, denied: Denied) -> Finding:
    piece, guilty = denied.piece, denied.guilty
    asked = (piece.named.rights if piece.named else None) or "the segment's flags"
    whom = _NO_USER if "u" in denied.letters else _NO_WRITE
    title = message(whom, name=piece.label, range=span(piece))
    call = message("{call} asked for {asked}", call=map_call(context, piece), asked=asked)
    finding = range_finding(RULE, context, piece, title, call, *_denials(guilty))
    entry = guilty[0]
    return replace(finding, entry=entry, source=context.attribution.source(entry, piece.virt))


def _denials(guilty: Sequence[EntryRef]) -> Iterator[Message]:
    for number, entry in enumerate(guilty, 1):
        name = numbered("entry", number)
        yield message(f"{{{name}:full}} denies it", **{name: entry})


RULE = Rule(
    id="rights-weaker",
    title="the tables allow less than was asked",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "Every level must grant U/S and R/W, so one parent without it takes it from all pages "
        "below. The switch runs at CPL 0, where U/S=0 forbids nothing, and with CR0.WP=0 R/W=0 "
        "neither."
    ),
    shows="Nothing at the switch; v=0e e=0005 or 0007 at CPL 3, or e=0003 once CR0.WP is set.",
    fix="Set U/S and R/W in every parent of a page that needs them; let the leaf restrict.",
    manual="Intel SDM volume 3A, 5.6.1",
    check=_check,
    yields=True,
    needs=SWITCH,
)
