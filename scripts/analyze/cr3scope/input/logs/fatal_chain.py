"""The exceptions of which a boot died: where their chain begins, and why none could be delivered."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.input.logs.delivery import Why, is_delivery, is_push, raised_by, why
from cr3scope.input.logs.event import InterruptRecord, RegisterDump, Stopped, TripleFault
from cr3scope.input.logs.happened import Death, DeathForm, Happened
from cr3scope.input.logs.log_report import KEPT, Excerpt
from cr3scope.input.logs.survival import is_inside, storm_start, survived_alike, went_on
from cr3scope.x86.exceptions import IN_IDT, PAGE_FAULT, SELECTOR_ERRORS

_FORMS = {
    Why.NO_IDT: DeathForm.NO_IDT, Why.IDT_UNMAPPED: DeathForm.IDT_UNMAPPED, Why.GDT_UNMAPPED: DeathForm.GDT_UNMAPPED,
    Why.STACK_UNMAPPED: DeathForm.STACK_UNMAPPED,
}  # fmt: skip


def last_chain(records: Sequence[InterruptRecord]) -> list[InterruptRecord]:
    """Return the last exception that was raised on its own account, with what came of its delivery.

    Before it stands the one whose handler it was raised in, where nothing shows that the guest was out of that again.
    """
    start = _raised_first(records, len(records) - 1)
    while start > 0:
        before = _raised_first(records, start - 1)
        adjacent = records[start].number == records[start - 1].number + 1
        later = (at for at in range(before + 1, len(records)) if not _is_of_delivery(records, at))
        if not adjacent or not all(is_inside(records[before], records[at]) for at in later):
            break
        if survived_alike(records[:before], records[before]):
            break
        start = before
    return list(records[start:])


def _raised_first(records: Sequence[InterruptRecord], last: int) -> int:
    """The exception out of whose delivery all others up to ``last`` came."""
    while _is_of_delivery(records, last):
        last -= 1
    return last


def _is_of_delivery(records: Sequence[InterruptRecord], at: int) -> bool:
    """Whether an exception was raised by the delivery of the one before it."""
    if not at or is_delivery(records[at]):
        return at > 0
    before, record = records[at - 1], records[at]
    return record.number == before.number + 1 and raised_by(before, record)


def origin_of(records: Sequence[InterruptRecord], last: int) -> int:
    """Return the index of the exception whose failed delivery the one at ``last`` is of; ``last`` if it is of none."""
    while last > 0 and is_delivery(records[last]):
        last -= 1
    return last


def fatal_storm(excerpt: Excerpt) -> tuple[list[InterruptRecord], InterruptRecord] | None:
    """Return the storm with which the exceptions end, and of which no code ran on, with what led into it; None if there is
    none."""
    early, late = excerpt.early, excerpt.late
    start = storm_start(late)
    if start is None:
        return None
    storm, before = late[start], late[:start]
    if not start and (began := storm_start(early)) is not None and early[began].identity == storm.identity:
        storm, before = early[began], early[:began]
    if any(record.rip != storm.rip for record in excerpt.after) and went_on(storm, excerpt.after):
        return None
    return _lead(before, storm), storm


def _lead(before: Sequence[InterruptRecord], storm: InterruptRecord) -> list[InterruptRecord]:
    """The exceptions that led into the storm, out of those before it: it is of the handler of the last one."""
    if not before or storm.number != before[-1].number + 1:
        return []
    is_handler = storm.access == "fetch" and storm.cr2 == storm.cpu.linear  # which nothing has ever entered
    return last_chain(before) if is_handler else last_chain([*before, storm])[:-1]


def with_origin(
    excerpt: Excerpt, records: Sequence[InterruptRecord], end: TripleFault | Stopped | None
) -> list[Happened]:
    """Return the chain with the interrupts, INT instructions and benign exceptions before it whose delivery raised it.

    What they raise makes no double fault, and stands for itself (SDM 3A, table 7-5).
    """
    row = list(records)
    while (before := excerpt.before(row[0])) is not None and len(row) < KEPT and raised_by(before, row[0]):
        row.insert(0, before)
    return happened_in(row, end)


def happened_in(records: Sequence[InterruptRecord], end: TripleFault | Stopped | None) -> list[Happened]:
    """Return the records of one chain, each with why it could not be delivered, if the next one or the end is of its
    delivery."""
    found = []
    for index, record in enumerate(records):
        is_last = index + 1 == len(records)
        following = None if is_last else records[index + 1]
        of_delivery = index > 0 and raised_by(records[index - 1], record)
        struck: int | None = None
        after: RegisterDump | None = None
        error: int | None = None
        if following is not None and raised_by(record, following):
            struck = following.struck if is_delivery(following) else following.vector
            error = following.error_code if struck == following.vector else None
            after = following.cpu
        elif following is None and isinstance(end, TripleFault):
            struck, after = end.struck, end.cpu
        if after is None:
            found.append(Happened(record, of_delivery, record.why))
            continue
        if struck is None and after.cr2 not in (None, record.cr2):
            struck = PAGE_FAULT  # whoever wrote the log does not say so, but CR2 is new
        selects = error is not None and struck in SELECTOR_ERRORS and not error & IN_IDT
        found.append(Happened(
            record, of_delivery, record.why or why(record, struck, error, after), after.cr2 if struck == PAGE_FAULT else None,
            error & ~7 if selects and error is not None else None,
        ))  # fmt: skip
    return found


def death_of(happened: Sequence[Happened], is_storm: bool) -> Death | None:
    """Return what kind of death it is, from the structure alone; None if it is none of the known."""
    first = happened[0]
    if is_storm:
        return Death(DeathForm.STORM)
    form = _FORMS.get(first.why) if first.why else None
    cr2 = first.record.fault.cr2
    if form is DeathForm.STACK_UNMAPPED and len(happened) > 1 and cr2 is not None and is_push(first.record, cr2):
        return Death(DeathForm.STACK_ITSELF)
    return None if form is None else Death(form, first.record.cr3)
