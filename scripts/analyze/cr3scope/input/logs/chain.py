"""What a chain of exceptions says, in words: why each one followed from the one before."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.input.logs.event import NO_EXCEPTION, InterruptRecord
from cr3scope.x86 import exceptions
from cr3scope.x86.descriptors import GATE_BYTES
from cr3scope.x86.exceptions import FIRST_INTERRUPT, FRAME_REACH, PAGE_FAULT

STORM_RUN = exceptions.STORM_RUN
_INTERRUPT_FRAME = 40  # without an error code
_OTHER_STACK = 1 << 16
_MAX_WORDS = 8


def title(record: InterruptRecord) -> str:
    """Return an exception with its place, as ``#PF (error 0011: instruction fetch, present) at RIP=.., CR2=..``."""
    fault = record.fault
    words = f"{exceptions.describe(fault.vector, fault.error_code)} at RIP={record.rip:#x}"
    return words if fault.cr2 is None else f"{words}, CR2={fault.cr2:#x}"


def storm_start(records: Sequence[InterruptRecord]) -> int | None:
    """Return the index of the first of at least ``STORM_RUN`` equal exceptions in a row; None if there is no such row.

    What their own delivery raises does not count: a handler's #PF whose every delivery ends in #DF is one storm.
    """
    start = count = 0
    for index, record in enumerate(records):
        if record.identity == records[start].identity:
            count += 1
            if count >= STORM_RUN:
                return start
        elif not is_delivery(record) or is_delivery(records[start]):
            start, count = index, 1
    return None


def is_delivery(record: InterruptRecord) -> bool:
    """Return whether an exception was raised while another one was delivered."""
    return record.old not in (None, NO_EXCEPTION)


def storm_end(records: Sequence[InterruptRecord], storm: InterruptRecord) -> int:
    """Return the index after the last record that is part of the storm; 0 if none is."""
    return max((i + 1 for i, r in enumerate(records) if r.identity == storm.identity), default=0)


def went_on(first: InterruptRecord, later: Sequence[InterruptRecord]) -> bool:
    """Return whether the interrupted code ran again: a handler's own faults lie below it on its stack.

    Another CR3 than the fault's tells so as well: the next address space was switched to.
    """
    return any(
        not is_delivery(record)
        and (record.rsp >= first.rsp or record.cr3 not in (None, first.cr3))
        and record.identity != first.identity
        for record in later
    )


def undelivered(interrupt: InterruptRecord, first: InterruptRecord) -> bool:
    """Return whether ``first`` kept an INT instruction from its handler.

    It was raised in the instruction itself, or it is the fetch of the handler: five quadwords below the aligned
    RSP, or on another stack (SDM 3A, 7.14.2). An INT is no exception in QEMU's eyes, and benign, so that
    ``first`` does not tell what it interrupted.
    """
    is_exception = interrupt.is_software and interrupt.vector < FIRST_INTERRUPT
    if not is_exception or is_delivery(first):
        return False
    if (first.rip, first.rsp) == (interrupt.rip, interrupt.rsp):
        return True
    is_fetch = first.vector == PAGE_FAULT and first.fault.cr2 == first.rip
    pushed = (interrupt.rsp & ~0xF) - _INTERRUPT_FRAME
    is_far = abs(first.rsp - interrupt.rsp) > _OTHER_STACK
    return is_fetch and (first.rsp == pushed or is_far)


def chain_words(records: Sequence[InterruptRecord]) -> tuple[str, ...]:
    """Return one line for each exception after the first. The last ones are kept if there are too many."""
    words = [
        f"{_follows(before, record)}{title(record)}{_reaching(before, record)}"
        for before, record in zip(records, records[1:], strict=False)
    ]
    if len(words) > _MAX_WORDS:
        left_out = len(words) - _MAX_WORDS
        words[2 : 2 + left_out] = [f"{left_out} more exceptions"]
    return tuple(words)


def storm_words(storm: InterruptRecord, last: InterruptRecord, count: int) -> str:
    """Return what repeats, and what becomes of RSP."""
    words = f"the same {exceptions.name(storm.vector)} at RIP={storm.rip:#x} again and again"
    words += f", {count} records"
    if storm.vector == PAGE_FAULT and storm.cr2 == storm.rip:
        words += ": the handler itself cannot be fetched"
    if last.rsp < storm.rsp:
        return f"{words}; RSP falls from {storm.rsp:#x} to {last.rsp:#x}"
    return f"{words}; RSP stays at {storm.rsp:#x}: it does not end by itself"


def interrupt_note(interrupt: InterruptRecord, first: InterruptRecord) -> str | None:
    """Return a note that an interrupt is the cause, if its gate is what the very next fault reached for.

    Else None.
    """
    if first.fault.cr2 is None or _gate(interrupt, first.fault.cr2) != interrupt.vector:
        return None
    return (
        f"interrupt {interrupt.vector:#x} came while its IDT gate at {first.fault.cr2:#x} cannot be"
        " read: interrupts were not masked (cli) before the switch"
    )


def _follows(before: InterruptRecord, record: InterruptRecord) -> str:
    if is_delivery(record):
        return f"while {exceptions.name(record.old or 0)} was delivered: "
    if before.is_exception and record.rip != before.rip:
        return f"in the handler of {exceptions.name(before.vector)}: "
    return ""


def _reaching(before: InterruptRecord, record: InterruptRecord) -> str:
    """What the CPU touched when the delivery of ``before`` failed; CR2 tells."""
    touched = record.cr2
    if not (is_delivery(record) or before.is_software) or touched is None or touched == before.cr2:
        return ""
    gate = _gate(before, touched)
    if gate is not None:
        return f"; IDT gate {gate} at {touched:#x} cannot be read"
    if 0 < (before.rsp - touched) % (1 << 64) <= FRAME_REACH:
        return f"; the push to the stack at {touched:#x} failed"
    if before.gdt is not None and before.gdt[0] <= touched <= before.gdt[0] + before.gdt[1]:
        return f"; GDT entry {(touched - before.gdt[0]) & ~7:#x} at {touched:#x} cannot be read"
    return f"; the CPU reached for {touched:#x}"


def _gate(record: InterruptRecord, address: int) -> int | None:
    """The vector whose gate holds ``address``."""
    if record.idt_base is None or not 0 <= address - record.idt_base < 256 * GATE_BYTES:
        return None
    return (address - record.idt_base) // GATE_BYTES


def form_words(
    first: InterruptRecord, chain: Sequence[InterruptRecord], is_storm: bool
) -> str | None:
    """Return what kind of death it is, from the structure alone; None if it is none of the known."""
    if is_storm:
        return "the handler was reached and faulted itself, over and over"
    second = chain[1] if len(chain) > 1 else None
    if second is None or not is_delivery(second):
        return None
    touched = second.cr2 if second.cr2 != first.cr2 else None  # CR2 as it was tells of an older fault
    cr2 = first.fault.cr2
    if cr2 is not None and 0 < (first.rsp - cr2) % (1 << 64) <= FRAME_REACH:
        return "the stack itself is bad: the fault could not be pushed either"
    if touched is not None and _gate(first, touched) is not None:
        return "the IDT is not readable under the new CR3: no exception can be delivered"
    if touched is not None and 0 < (first.rsp - touched) % (1 << 64) <= FRAME_REACH:
        return "the stack is not writable under the new CR3: no exception can be delivered"
    if first.gdt is not None and touched is not None:
        if first.gdt[0] <= touched <= first.gdt[0] + first.gdt[1]:
            return "the GDT is not readable under the new CR3: no exception can be delivered"
    return None
