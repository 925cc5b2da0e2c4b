"""Two things in the same physical memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Origin, Span, message
from cr3scope.model.asked.owners import Owner, collisions, owners
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    for one, other in islice(collisions(owners(context.in_place)), 16 * MOST_NAMED):
        if (one.label, other.label) in told or len(told) == MOST_NAMED:
            continue
        told.add((one.label, other.label))
        first, last = max(one.first, other.first), min(one.last, other.last)
        finding = RULE.finding(
            message(
                "{one:name} and {other:name} overlap at frames {frames}",
                one=_origin(context, one),
                other=_origin(context, other),
                frames=Span(first, last),
            ),
            message("{one} has {one_frames}", one=_origin(context, one), one_frames=_frames(one)),
            message("{other} has {other_frames}", other=_origin(context, other), other_frames=_frames(other)),
        )
        later = other.caller or one.caller
        yield replace(finding, source=context.attribution.line(later))


def _origin(context: Context, owner: Owner) -> Origin:
    return Origin(owner.label, context.attribution.line(owner.caller))


def _frames(owner: Owner) -> Span:
    return Span(owner.first, owner.last)


RULE = Rule(
    id="overlapping-image",
    title="two things lie in the same physical memory",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "A fixed address was used without asking the firmware for it, AllocateAddress failed and "
        "nobody looked, memory was taken from an old memory map, or a size was counted in the "
        "wrong unit. Then a push on the stack changes code, or a copied segment changes a page "
        "table."
    ),
    shows="Anything: wrong bytes at the entry, a fault with RSVD, a kernel that dies later.",
    fix="Get each range from AllocatePages, check the status, and keep what was granted apart.",
    manual="UEFI 2.10, 7.2 (EFI_BOOT_SERVICES.AllocatePages())",
    check=_check,
)
