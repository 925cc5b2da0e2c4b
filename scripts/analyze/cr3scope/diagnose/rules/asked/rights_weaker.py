"""Rights that were asked for and are missing, where the plan's supervisor does not notice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import compared, map_call, range_finding, span
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.message import Message, message
from cr3scope.model.asked.compare import Piece
from cr3scope.paging.walk import walk
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CR0_WP
from cr3scope.x86.entry import USER, WRITABLE
from cr3scope.x86.mode import PAGED

_NO_USER = "user code cannot use {name} at {range}"
_NO_WRITE = "with CR0.WP set nobody can write {name} at {range}"


def _check(context: Context) -> Iterator[Finding]:
    comparison = compared(context)
    if comparison is None:
        return
    # A missing W strikes by itself as long as CR0.WP is set; X always does.
    letters = "u" if context.cpu.cr0 & CR0_WP else "wu"
    found = (_finding(context, *weaker) for weaker in comparison.weaker(letters))
    yield from islice((finding for finding in found if finding is not None), MOST_NAMED)


def _finding(context: Context, piece: Piece, missing: str) -> Finding | None:
    path = walk(context.tables, context.cpu, piece.virt, context.platform)
    if missing == "u" and path.leaf.value & USER:
        return None  # a parent denies it: upper-level-supervisor
    guilty = path.lacking(USER if "u" in missing else WRITABLE)
    asked = (piece.named.rights if piece.named else None) or "the segment's flags"
    whom = _NO_USER if "u" in missing else _NO_WRITE
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
