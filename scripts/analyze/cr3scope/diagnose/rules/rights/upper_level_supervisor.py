"""A user page below an entry that is for the supervisor only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope import limits
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Message, Span, message
from cr3scope.paging.walk import walk
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import USER, level_bytes
from cr3scope.x86.mode import PAGED
from cr3scope.x86.names import covered

_LEFT_OUT = "whether all that was mapped for user mode can be used there"


def _check(context: Context) -> Iterator[Finding]:
    told: set[EntryRef] = set()
    steps = iter(range(limits.SCAN_STEPS))
    for part, last, named in context.intent.calls.parts():
        if "u" not in (named.rights or ""):
            continue
        for virt, parent, leaf in _denied(context, part, last, steps):
            if parent in told:
                continue
            told.add(parent)
            reach = covered(parent, virt)
            denied = Span(max(reach[0], named.virt), min(reach[1], named.last), named.label)
            finding = RULE.finding(
                message("{entry} has U clear: no user mode in {denied}", entry=parent, denied=denied),
                message("{entry:full}, above the user leaf {leaf:full}", entry=parent, leaf=leaf),
                Message(
                    "user-mode reads get #PF 0005 there, writes 0007; no step of the plan is made in user mode"
                ),
            )
            source = context.attribution.source(parent, virt)
            yield replace(finding, entry=parent, range=reach, source=source)


def _denied(context: Context, virt: int, last: int, steps: Iterator[int]) -> Iterator[tuple[int, EntryRef, EntryRef]]:
    """Each part of a range whose leaf has U and some parent has not: address, parent, leaf."""
    for _ in steps:
        path = walk(context.tables, context.cpu, virt, context.platform)
        level = path.leaf.level if path.entries else 1
        lacking = path.lacking(USER)
        if path.stop is None and lacking and path.leaf.value & USER:
            yield from ((virt, parent, path.leaf) for parent in lacking)
            level = lacking[0].level
        virt = (virt & -level_bytes(level)) + level_bytes(level)
        if virt > last:
            return
    context.intent.left_out[_LEFT_OUT] = None


RULE = Rule(
    id="upper-level-supervisor",
    title="user pages under a supervisor entry",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "User mode may use a page only if U is set at every level. A loader or kernel that sets it "
        "in the leaf alone, and leaves P and W in the tables above, gets a supervisor page."
    ),
    shows="Nothing at the switch; v=0e e=0005, 0007 or 0015 with cpl=3 at the first user access.",
    fix="Set U (bit 2) in every entry above a user page; the leaves still decide page by page.",
    manual="Intel SDM volume 3A, 5.6 and 5.6.1",
    check=_check,
    needs=SWITCH,
)
