"""An entry of large pages without its PS bit."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.met import met_by
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.paging.page_size import lacks_page_size
from cr3scope.paging.tables import Entries, table_entries
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.entry import ADDRESS_MASK, PRESENT, formats_of
from cr3scope.x86.mode import PAGED

_GARBAGE = 16  # entries: of a real table those that are not present are 0, but for a few that say where a page was put


def _claim(context: Context, strike: Strike) -> Claim | None:
    for entry in met_by(context, strike.virt).entries:
        table = _table_of(context, entry)
        if table is not None and lacks_page_size(table, entry.form, entry.index):
            return Claim(_title(entry), stands_alone=True, entry=entry)
        if _lacks_it_here(context, strike, entry):
            proof = message("with PS it would map {virt} where the code runs", virt=Hex(strike.virt))
            return Claim(_title(entry), stands_alone=True, entry=entry, proof=(proof,))
        twin = _twin(context, strike, entry)
        if twin is not None:
            proof = message("{twin} maps the same memory as a large page; as a table it holds {garbage} entries that are neither 0 nor"
                            " present", twin=twin, garbage=_garbage(context, entry))  # fmt: skip
            return Claim(_title(entry), stands_alone=True, entry=entry, proof=(proof,))
    return None


def _table_of(context: Context, entry: EntryRef) -> Entries | None:
    return table_entries(context.tables, entry.form, entry.phys & -_size(entry))


def _size(entry: EntryRef) -> int:
    """Of the table that an entry is in, in bytes."""
    return entry.form.entry_bytes * entry.form.entries


def _twin(context: Context, strike: Strike, entry: EntryRef) -> EntryRef | None:
    """The large page beside it that maps what this entry points to, where that is no table: a kernel maps itself low and high.

    Only of an entry below which the walk was refused. Memory that was never a table is full of what reads as entries that are not present.
    """
    if not entry.form.takes_ps or not entry.value & PRESENT or entry.is_leaf or strike.culprit == entry:
        return None
    place = entry.value & ADDRESS_MASK
    table = _table_of(context, entry)
    if table is None or place % entry.form.page_bytes or _garbage(context, entry) < _GARBAGE:
        return None
    for index, value in enumerate(map(int, table)):
        if value & PRESENT and entry.form.is_leaf(value) and entry.form.frame(value) == place:
            return EntryRef.of(entry.form, entry.phys & -_size(entry), index, value)
    return None


def _garbage(context: Context, entry: EntryRef) -> int:
    """How many entries of the table below are not present and not 0."""
    formats = formats_of(context.cpu)
    below = next((form for form in formats if form.level == entry.level - 1), None)
    table = None if below is None else table_entries(context.tables, below, entry.value & ADDRESS_MASK)
    return 0 if table is None else sum(1 for value in map(int, table) if value and not value & PRESENT)


def _lacks_it_here(context: Context, strike: Strike, entry: EntryRef) -> bool:
    """The code that switched is not mapped, but lies just where a large page of this entry would begin to map it.

    An entry whose frame is its own address is a page of an identity map, whatever its neighbours are; a table lies elsewhere.
    """
    if strike.kind is not AccessKind.FETCH or strike.reason is not Reason.NOT_PRESENT or strike.culprit == entry:
        return False
    if context.intent.role_at(strike.virt) != "trampoline" or not entry.form.takes_ps or not entry.value & PRESENT:
        return False
    return bool(entry.value & ADDRESS_MASK == strike.virt & -entry.form.page_bytes)


def _title(entry: EntryRef) -> Message:
    table = Hex(entry.value & ADDRESS_MASK)
    template = "{entry} lacks PS: it maps no page of 1 GiB, but points to a table at {table}"
    if entry.form.is_short:
        template = "{entry} lacks PS: it maps no page of 4 MiB, but points to a table at {table}"
    elif entry.level == 2:
        template = "{entry} lacks PS: it maps no page of 2 MiB, but points to a table at {table}"
    return message(template, entry=entry, table=table)


RULE = Rule(
    id="page-size-missing",
    title="a large page's entry lacks PS",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Bit 7 of a PDE or PDPTE says that it maps a page of 2 MiB or 1 GiB. Without it the frame is taken "
        "for the next table: the CPU reads entries out of the memory that was to be mapped, and what it "
        "finds there (zeros, the interrupt vectors of real mode, code) decides."
    ),
    shows=(
        "v=0e with a walk that goes one level too deep, through a table at the page's own address: "
        "0 for the first one. Without NXE the error code of the first fetch is 0000."
    ),
    fix="Set bit 7 in these entries (0x83 for present, writable, large), or give them page tables.",
    manual="Intel SDM volume 3A, 5.5.4, tables 5-16 to 5-19",
    claim=_claim,
)
