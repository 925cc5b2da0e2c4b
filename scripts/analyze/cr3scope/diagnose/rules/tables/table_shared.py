"""One table page in two places of the tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.diagnose.shared.meant import is_own_root, unless_struck
from cr3scope.diagnose.shared.met import met_by
from cr3scope.diagnose.shared.misplaced import misplaced
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.input.capture.records import TableRecord
from cr3scope.message import Fact, Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import ADDRESS_MASK
from cr3scope.x86.mode import PAGED
from cr3scope.x86.names import covered


def _claim(context: Context, strike: Strike) -> Claim | None:
    if not is_own_root(context):
        return None
    path = met_by(context, strike.virt).entries
    if strike.culprit not in path:
        return None
    records = {record.phys: record for record in context.boot.tables}
    for entry in path[: path.index(strike.culprit)]:
        if entry.value & ADDRESS_MASK == context.cpu.root:
            return None  # through the recursive slot every table is met one level higher
        record = records.get(entry.value & ADDRESS_MASK)
        if record is not None and record.level != entry.level - 1 and record.parent:
            return Claim(_misplaced(1, entry, record), stands_alone=True, entry=entry)
    return None


def _check(context: Context) -> Iterator[Finding]:
    if not is_own_root(context):
        return
    found = list(misplaced(context))
    if not found:
        return
    entry, virt, _ = found[0]
    title, *others = (
        _misplaced(number, each, known) for number, (each, _, known) in enumerate(found[:MOST_NAMED], 1)
    )
    if len(found) > MOST_NAMED:
        others.append(message("and {more} more", more=len(found) - MOST_NAMED))
    finding = RULE.finding(title, message("{entry:full}", entry=entry), *others)
    source = context.attribution.source(entry, virt)
    named = unless_struck(context, entry)
    yield replace(finding, entry=named, range=covered(entry, virt), source=source)


def _misplaced(number: int, entry: EntryRef, record: TableRecord) -> Message:
    """The ``number``-th entry that leads to a table which is not its own."""
    names = ("entry", "table", "level", "made_level", "made_for")
    leads, table, level, made_level, made_for = (numbered(name, number) for name in names)
    facts: dict[str, Fact] = {
        leads: entry, table: Hex(record.phys), level: entry.level - 1, made_level: record.level,
        made_for: Hex(record.parent),
    }  # fmt: skip
    return Message(
        f"{{{leads}}} leads to {{{table}}} as a table of level {{{level}}}; "
        f"it was made as one of level {{{made_level}}}, for the entry at {{{made_for}}}",
        facts,
    )


RULE = Rule(
    id="table-shared",
    title="one table page at two places of the tree",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "A page read as a table of another level means something else: leaves become pointers, and "
        "the bytes behind them are taken for entries. Below two entries of one level, a page "
        "shows its mappings twice, and a change for one range changes the other. Only the "
        "recursive slot does this on purpose."
    ),
    shows=(
        "A fault whose error code depends on what lies in the pages behind (e=0010, or RSVD with "
        "e=0018 or 0019); for two entries of one level nothing, but one range shows the memory of "
        "another."
    ),
    fix="Give each entry its own table; allocate and clear one page for each pointer.",
    manual="Intel SDM volume 3A, 5.5.4",
    claim=_claim,
    check=_check,
    needs=SWITCH,
)
