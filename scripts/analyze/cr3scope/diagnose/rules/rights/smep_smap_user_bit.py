"""Kernel pages that are user pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.arrays import integers
from cr3scope import limits
from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.diagnose.shared.met import met_by
from cr3scope.message import Hex, Message, Span, message
from cr3scope.model.strike import Strike
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, mappings
from cr3scope.paging.walk import Reason, Walk, walk
from cr3scope.x86.cpu_state import CR4_SMAP, CR4_SMEP
from cr3scope.x86.entry import USER
from cr3scope.x86.mode import PAGED

_TITLES = {
    Reason.SMEP: "{virt} is a user page, which SMEP forbids the kernel to execute",
    Reason.SMAP: "{virt} is a user page, which SMAP forbids the kernel to touch",
}


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason not in _TITLES:
        return None
    path = met_by(context, strike.virt)
    return Claim(message(_TITLES[strike.reason], virt=Hex(strike.virt)), proof=(_levels(path),))


def _check(context: Context) -> Iterator[Finding]:
    """Kernel pages that some later CPU, or a kernel that turns SMEP or SMAP on, dies of."""
    top, cpu = context.tables.table(context.cpu.root), context.cpu
    if top is None or not (top & np.uint64(USER)).any():
        return
    found = mappings(context.tables, cpu, context.platform, limits.SCAN_RANGES)
    is_code = found.attributes & RIGHT_EXECUTE != 0
    spared = np.where(is_code, not cpu.cr4 & CR4_SMEP, not cpu.cr4 & CR4_SMAP)
    rows = np.flatnonzero(spared & (found.attributes & RIGHT_USER != 0))
    told: dict[Span, None] = {}
    asked = [one for one in context.intent.calls.parts() if one[2].role != "recursive" and "u" not in (one[2].rights or "")]
    first, last = (np.array([part[side] for part in asked], dtype=np.uint64) for side in (0, 1))
    begin = np.searchsorted(found.last[rows], first)
    end = np.searchsorted(found.first[rows], last, side="right")
    for number in integers(np.flatnonzero(begin < end)):
        for row in integers(rows[begin[number] : end[number]][:MOST_NAMED]):
            part = asked[number]
            told[Span(max(int(found.first[row]), part[0]), min(int(found.last[row]), part[1]), part[2].label)] = None
        if len(told) >= MOST_NAMED:
            break
    if not told:
        return
    ranges = tuple(told)[:MOST_NAMED]
    virt = ranges[0].first
    path = walk(context.tables, cpu, virt, context.platform)
    finding = RULE.finding(
        message("{ranges}: asked for the kernel, but these are user pages", ranges=ranges),
        _levels(path),
        Message("bites on CPUs with SMEP or SMAP as soon as the kernel turns them on"),
        severity=Severity.WARNING,
    )
    source = context.attribution.source(path.leaf, virt)
    yield replace(finding, entry=path.leaf, range=(virt, virt | path.page_size - 1), source=source)


def _levels(path: Walk) -> Message:
    return message(
        "U (bit 2) is set at every level: {user_entries}; one level without it is enough",
        user_entries=path.having(USER),
    )


RULE = Rule(
    id="smep-smap-user-bit",
    title="kernel pages are user pages",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "A page is a user page if U is set at every level. With CR4.SMEP the kernel cannot execute "
        "such a page, with CR4.SMAP it can read or write it only while RFLAGS.AC is set, and "
        "descriptor tables not even then. Flags of 7 (P, W, U) at all levels are the usual cause."
    ),
    shows=(
        "v=0e e=0011 at a fetch (SMEP), e=0001 or 0003 at a read or write (SMAP), on pages that "
        "are present and allow it. Nothing while both are off, as on CPUs without them."
    ),
    fix="Clear U (bit 2) in the leaves of the kernel, or in one entry above them.",
    manual="Intel SDM volume 3A, 5.6.1 and 2.5 (CR4.SMEP, CR4.SMAP)",
    claim=_claim,
    check=_check,
    needs=SWITCH,
)
