"""Two calls that map the same pages, otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import origin_of_call
from cr3scope.message import Fact, Hex, Message, Span, message
from cr3scope.model.asked.calls import Overwrite
from cr3scope.model.intent import CODE_ROLES, WRITTEN_ROLES, Named
from cr3scope.x86.mode import PAGED

_IDENTITY = "identity"


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    maps, records = context.intent.maps, context.boot.maps
    for overwrite in asked.overwrites:
        earlier, later = maps[overwrite.earlier], maps[overwrite.later]
        lost = _lost(context, overwrite, earlier, later)
        is_alike = set(earlier.rights or "") == set(later.rights or "") and (
            records[overwrite.earlier].type == records[overwrite.later].type
        )
        # An identity map with parts of it mapped anew is a habit, not a slip.
        if not lost and (is_alike or _IDENTITY in (earlier.role, later.role)):
            continue
        title = message(
            "{later:name} was mapped over {earlier:name} at {range}",
            later=origin_of_call(context, later),
            earlier=origin_of_call(context, earlier),
            range=Span(overwrite.first, overwrite.last),
        )
        finding = RULE.finding(
            title,
            *lost,
            message("first {earlier}: {earlier_rights}, {earlier_type}, from {earlier_phys}",
                    **_call(context, "earlier", overwrite.earlier)),
            message("then {later}: {later_rights}, {later_type}, from {later_phys}",
                    **_call(context, "later", overwrite.later)),
            severity=Severity.ERROR if lost else Severity.NOTE,
        )
        source = context.attribution.line(later.caller)
        yield replace(finding, range=(overwrite.first, overwrite.last), source=source)


def _lost(context: Context, over: Overwrite, earlier: Named, later: Named) -> list[Message]:
    """What the earlier range needs and no longer has."""
    lost = []
    first = max(over.first, earlier.virt, later.virt)
    before, after = earlier.frame(first), later.frame(first)
    if before is not None and after is not None and before != after:
        lost.append(message(
            "{virt} was to lead to {meant}, now it leads to {phys}",
            virt=Hex(first), meant=Hex(before), phys=Hex(after),
        ))  # fmt: skip
    owner = origin_of_call(context, earlier)
    if "w" in _needs(context, over, earlier) and "w" not in (later.rights or ""):
        lost.append(message("{earlier:name} is written, and can no longer be", earlier=owner))
    if "x" in _needs(context, over, earlier) and "x" not in (later.rights or ""):
        lost.append(message("{earlier:name} is executed, and can no longer be", earlier=owner))
    return lost


def _needs(context: Context, over: Overwrite, earlier: Named) -> str:
    segments = [s for s in context.intent.segments if s.overlaps(over.first, over.last)]
    flags = "".join(segment.rights or "" for segment in segments)
    by_role = "w" * (earlier.role in WRITTEN_ROLES) + "x" * (earlier.role in CODE_ROLES)
    return "".join(set(flags + by_role) & set(earlier.rights or ""))


def _call(context: Context, which: str, number: int) -> dict[str, Fact]:
    record = context.boot.maps[number]
    return {
        which: origin_of_call(context, context.intent.maps[number]), f"{which}_rights": record.rights,
        f"{which}_type": record.type, f"{which}_phys": Hex(record.phys),
    }  # fmt: skip


RULE = Rule(
    id="mapping-overwritten",
    title="a range was mapped over another",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Two calls wrote the same entries. The last one wins, so the first range has another "
        "frame or other rights than its caller believes. A mapper that does not look at P lets "
        "that pass."
    ),
    shows="A fault, or other data, inside a range whose own call was right.",
    fix="Let the mapper refuse a present entry, and give each range its own pages.",
    manual="Intel SDM volume 3A, 5.5 (one entry translates a page)",
    check=_check,
    needs=SWITCH,
)
