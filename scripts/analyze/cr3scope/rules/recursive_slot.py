"""The slot through which the tables see themselves."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.paging.entry import ADDRESS_MASK, PRESENT, level_index
from cr3scope.predict.names import entry_name, entry_words
from cr3scope.rules.rule import Context, Rule
from cr3scope.verdict import EntryRef, Finding, Severity


def _check(context: Context) -> Iterator[Finding]:
    if context.tables is None or context.cpu is None:
        return
    root, level = context.cpu.root, context.cpu.levels
    top = context.tables.table(root)
    promised = _promised(context, root, level)
    if top is None or not promised:
        return  # a loader without a recursive slot is as good
    entries = [EntryRef(level, i, root + 8 * i, int(value)) for i, value in enumerate(top)]
    to_itself = [
        entry
        for entry in entries
        if entry.value & PRESENT and entry.value & ADDRESS_MASK == root
    ]
    for index in dict.fromkeys(promised):
        if index not in [entry.index for entry in to_itself]:
            yield _finding(
                context,
                entries[index],
                f"{entry_name(entries[index])} should hold the top table's own address",
                f"{entry_words(entries[index])}, but the top table is at {root:#x}",
            )
    for entry in to_itself:
        if entry.index not in promised:
            yield _finding(
                context,
                entry,
                f"{entry_name(entry)} points to the top table, which nobody asked for",
                f"{entry_words(entry)}; the recursive slot is {promised[0]}",
            )


def _promised(context: Context, root: int, level: int) -> list[int]:
    """The slots that a range of role `recursive` names; else the one that was first written so."""
    named = [
        level_index(named.virt, level)
        for named in [*context.intent.maps, *context.intent.regions]
        if named.role == "recursive"
    ]
    written = [
        record.index
        for record in context.boot.sets
        if record.level == level and record.new & ADDRESS_MASK == root
    ]
    return named or written[:1]


def _finding(context: Context, entry: EntryRef, title: str, detail: str) -> Finding:
    source = context.attribution.source(entry, 0)
    return Finding(
        RULE.id, RULE.severity, title, detail, RULE.fix, entry=entry, source=source
    )


RULE = Rule(
    id="recursive-slot",
    title="the recursive slot is wrong",
    severity=Severity.ERROR,
    reason=(
        "A recursive slot holds the physical address of the table it is in. With another index, or "
        "with the address of another table, the window through which the kernel edits its tables "
        "shows something else."
    ),
    shows="Nothing at the switch; later, wrong reads and writes inside the window, or v=0e.",
    fix="Store root | P | R/W (and NX) in exactly one slot of the upper half of the top table.",
    manual="Intel SDM volume 3A, 5.5 (the walk treats any table page alike)",
    check=_check,
)
