"""A frame that is writable at one address and executable at another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import call_source, origin, range_finding, span
from cr3scope.message import Fact, Hex, Message, Span, message
from cr3scope.model.asked.aliases import Alias
from cr3scope.model.asked.compare import Piece
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    for alias in asked.writable_and_executable:
        yield _finding(context, alias)
    if asked.both_as_asked is not None:
        yield _on_purpose(context, asked.both_as_asked)


def _finding(context: Context, alias: Alias) -> Finding:
    one, other = alias.one, alias.other
    title = message(
        "frames {frames} are writable at {writable_virt} ({writable:name}),"
        " executable at {executable_virt} ({executable:name})",
        frames=Span(alias.phys, alias.last),
        writable_virt=Hex(one.virt),
        writable=origin(context, one),
        executable_virt=Hex(other.virt),
        executable=origin(context, other),
    )
    writable, executable = _mapping(context, "writable", one), _mapping(context, "executable", other)
    return range_finding(RULE, context, one, title, writable, executable)


def _mapping(context: Context, which: str, piece: Piece) -> Message:
    facts: dict[str, Fact] = {which: origin(context, piece), f"{which}_range": span(piece), f"{which}_rights": piece.rights}
    return message(f"{{{which}}}: {{{which}_range}}, {{{which}_rights}}", **facts)


def _on_purpose(context: Context, piece: Piece) -> Finding:
    """One note for what was asked to be both in one place: that is a decision, not a slip."""
    finding = RULE.finding(
        message("{both:name} is writable and executable, as it was asked for", both=origin(context, piece)),
        _mapping(context, "both", piece),
        severity=Severity.NOTE,
    )
    return replace(finding, range=(piece.virt, piece.last), source=call_source(context, piece))


RULE = Rule(
    id="double-map-wx",
    title="one frame is writable and executable",
    severity=Severity.ERROR,
    modes=PAGED,
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
    needs=SWITCH,
)
