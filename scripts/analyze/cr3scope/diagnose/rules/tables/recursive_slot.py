"""The slot through which the tables see themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Hex, Message, Span, message
from cr3scope.model.asked.window import promised_slots, window_of
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import ADDRESS_MASK, NO_EXECUTE, PRESENT, USER, WRITABLE
from cr3scope.x86.mode import LONG

_LOWER_HALF = 256  # entries of the top table below this index translate user addresses


def _check(context: Context) -> Iterator[Finding]:
    root, level = context.cpu.root, context.cpu.levels
    top = context.tables.table(root)
    promised = promised_slots(context.intent, context.cpu)
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
                message("{entry} should hold the top table's own address", entry=entries[index]),
                message("{entry:full}, but the top table is at {root}", entry=entries[index], root=Hex(root)),
            )
    for entry in to_itself:
        if entry.index not in promised:
            yield _finding(
                context,
                entry,
                message("{entry} points to the top table, which nobody asked for", entry=entry),
                message("{entry:full}; the recursive slot is {slot}", entry=entry, slot=promised[0]),
            )
        else:
            yield from _rights(context, entry, root)
            yield from _place(context, entry)


def _rights(context: Context, entry: EntryRef, root: int) -> Iterator[Finding]:
    """The entry's rights against those with which it was first written."""
    asked = next(
        (
            record.new
            for record in context.boot.sets
            if record.entry == entry.phys and record.new & ADDRESS_MASK == root
        ),
        entry.value,
    )
    proof = message("{entry:full}, written first as {asked:#018x}", entry=entry, asked=Hex(asked))
    if asked & ~entry.value & WRITABLE:
        title = message("{entry}, the recursive slot, is no longer writable", entry=entry)
        yield _finding(context, entry, title, proof)
        return
    opened = tuple(
        words
        for is_open, words in (
            (entry.value & ~asked & USER, "open to user code"),
            (asked & ~entry.value & NO_EXECUTE, "executable"),
        )
        if is_open
    )
    if opened:
        title = message("{entry}, the recursive slot, has become {opened:and}", entry=entry, opened=opened)
        yield _finding(context, entry, title, proof, Severity.WARNING)


def _place(context: Context, entry: EntryRef) -> Iterator[Finding]:
    """Where the window is: in the kernel's half, and apart from what is mapped."""
    first, last = window_of(entry.index, entry.level)
    window = Span(first, last)
    for named in context.intent.maps:
        if named.role != "recursive" and named.overlaps(first, last):
            title = message(
                "{entry}: the recursive window {window} covers {name}",
                entry=entry, window=window, name=named.label,
            )  # fmt: skip
            proof = message("{name} was mapped at {range}", name=named.label, range=Span(named.virt, named.last))
            yield replace(_finding(context, entry, title, proof), range=(first, last))
            return
    if entry.index < _LOWER_HALF:
        title = message(
            "{entry}: the recursive window {window} lies in the half of user addresses", entry=entry, window=window
        )
        proof = message("{entry:full}; a process's own mappings will want that place", entry=entry)
        yield _finding(context, entry, title, proof, Severity.WARNING)


def _finding(
    context: Context, entry: EntryRef, title: Message, proof: Message, severity: Severity | None = None
) -> Finding:
    source = context.attribution.source(entry, 0)
    return replace(RULE.finding(title, proof, severity=severity), entry=entry, source=source)


RULE = Rule(
    id="recursive-slot",
    title="the recursive slot is wrong",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "A recursive slot holds the physical address of the table it is in. With another index, "
        "or with the address of another table, the window through which the kernel edits its "
        "tables shows something else. Each access walks the slot's entry, so W, U and NX of it "
        "hold for the whole window, and the window takes the place of everything else at its "
        "addresses."
    ),
    shows="Nothing at the switch; later, wrong reads and writes inside the window, or v=0e.",
    fix="Store root | P | R/W (and NX) in exactly one slot of the upper half of the top table.",
    manual="Intel SDM volume 3A, 5.5 (the walk treats any table page alike)",
    check=_check,
    needs=SWITCH,
)
