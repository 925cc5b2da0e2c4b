"""The tables are deeper, or less deep, than the CPU walks."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.input.capture.records import TableRecord
from cr3scope.message import Hex, Message, message
from cr3scope.model.depth import Crossing
from cr3scope.model.strike import Strike
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import LONG


def _claim(context: Context, strike: Strike) -> Claim | None:
    top = _other_depth(context)
    if top is None:
        return _walked_otherwise(context, strike)
    return Claim(_title(context, top), proof=(_made_for(top),), stands_alone=True)


def _walked_otherwise(context: Context, strike: Strike) -> Claim | None:
    """Without a trace the code behind the switch tells for which depth the tables were made."""
    if context.current is None or context.cpu.has_short_addresses:
        return None
    if strike.kind is not AccessKind.FETCH or context.intent.role_at(strike.virt) != "trampoline":
        return None
    crossing = Crossing(context.tables, context.current, context.cpu, context.platform)
    levels = crossing.levels_that_fit(strike.virt)
    if levels is None:
        return None
    proof = message("walked so, {virt} is mapped where the current tables map it", virt=Hex(strike.virt))
    return Claim(_depths(levels, context.cpu.levels), proof=(proof,), stands_alone=True)


def _check(context: Context) -> Iterator[Finding]:
    top = _other_depth(context)
    if top is not None:
        yield RULE.finding(_title(context, top), _made_for(top))


def _other_depth(context: Context) -> TableRecord | None:
    """The top table, if it was made for another number of levels."""
    root, levels = context.cpu.root, context.cpu.levels
    tops = [t for t in context.boot.tables if t.phys == root and t.parent == 0]
    return tops[0] if tops and tops[0].level in (4, 5) and tops[0].level != levels else None


def _title(context: Context, top: TableRecord) -> Message:
    return _depths(top.level, context.cpu.levels)


def _depths(levels: int, walked: int) -> Message:
    return message(
        "the tables have {levels} levels, the CPU walks {walked_levels} (CR4.LA57={la57})",
        levels=levels, walked_levels=walked, la57=int(walked == 5),
    )  # fmt: skip


def _made_for(top: TableRecord) -> Message:
    return message(
        "the top table at {root} was made as one of level {levels}", root=Hex(top.phys), levels=top.level
    )


RULE = Rule(
    id="la57-mismatch",
    title="the tables are not as deep as the CPU walks",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "CR4.LA57 decides whether CR3 points to a PML5 or a PML4, and it cannot change in 64-bit "
        "mode. A loader that always builds four levels, or five, dies on firmware that chose the "
        "other: every table is read as one of another level, with the wrong bits of the address."
    ),
    shows=(
        "v=0e e=0010 at the first instruction after mov cr3 (e=0018 or 0019 if a leaf with bit 7 "
        "or an address is read as a pointer), and nothing can be delivered. With five levels it "
        "bites only on CPUs with LA57."
    ),
    fix="Read CR4.LA57 and build as many levels as it says.",
    manual="Intel SDM volume 3A, 5.1.1, 5.5.1 and 2.5 (CR4.LA57)",
    claim=_claim,
    check=_check,
    needs=SWITCH,
)
