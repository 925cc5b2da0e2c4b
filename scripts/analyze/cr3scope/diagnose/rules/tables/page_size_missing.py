"""An entry of large pages without its PS bit."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.paging.page_size import lacks_page_size
from cr3scope.paging.walk import walk
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import ADDRESS_MASK, PAGE_FRAME


def _claim(context: Context, strike: Strike) -> Claim | None:
    for entry in walk(context.tables, context.cpu, strike.virt, context.platform).entries:
        table = context.tables.table(entry.phys & PAGE_FRAME)
        if table is not None and lacks_page_size(table, entry.level, entry.index):
            return Claim(_title(entry), stands_alone=True, entry=entry)
    return None


def _title(entry: EntryRef) -> Message:
    table = Hex(entry.value & ADDRESS_MASK)
    if entry.level == 2:
        return message(
            "{entry} lacks PS: it maps no page of 2 MiB, but points to a table at {table}", entry=entry, table=table
        )
    return message(
        "{entry} lacks PS: it maps no page of 1 GiB, but points to a table at {table}", entry=entry, table=table
    )


RULE = Rule(
    id="page-size-missing",
    title="a large page's entry lacks PS",
    severity=Severity.ERROR,
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
