"""What a log tells, in words: the events of a chain, why each followed from the one before, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from cr3scope.input.logs.count import Count
from cr3scope.input.logs.delivery import Why, gate_at, has_no_idt
from cr3scope.input.logs.event import NO_EXCEPTION, InterruptRecord, Kind, RegisterDump, Shown, Stopped, TripleFault
from cr3scope.input.logs.int_log.last_seen import LastDump
from cr3scope.input.logs.happened import Death, DeathForm, Happened, Repetition
from cr3scope.render.message import text
from cr3scope.x86 import exceptions
from cr3scope.x86.cpu_state import RFLAGS_IF
from cr3scope.x86.exceptions import FRAME_REACH, PAGE_FAULT

_MAX_WORDS = 8
ALONE, HANDLED = "alone", "handled"  # of registers that are shown, and of a count
_GENERAL = {f"{width}{name}" for width in "RE" for name in ("AX", "BX", "CX", "DX", "SI", "DI", "BP")} | {
    f"R{number}" for number in range(8, 16)
}


def what(record: InterruptRecord) -> str:
    """Return an event without its place, as ``#PF (error 0011: instruction fetch, present)``."""
    if record.kind is Kind.INT:
        return f"INT {record.vector:#04x} (the instruction)"
    if record.kind is Kind.INTERRUPT:
        return f"hardware interrupt {record.vector:#04x}"
    fault = record.fault
    access = record.access
    is_fetch = None if access is None else access == "fetch"
    return exceptions.describe(fault.vector, fault.error_code, is_fetch, record.cpu.in_long_mode)


def title(record: InterruptRecord) -> str:
    """Return an event with its place, as ``#PF (error 0011: instruction fetch, present) at RIP=.., CR2=..``."""
    words = what(record)
    if record.rip is not None:
        words += f" at RIP={record.rip:#x}"
    return words if record.fault.cr2 is None else f"{words}, CR2={record.fault.cr2:#x}"


class Seen(Protocol):
    """What became of a guest, as a log tells it."""

    @property
    def events(self) -> tuple[Happened, ...]:
        """Return the fatal event, and the chain from it on."""

    @property
    def storm(self) -> Repetition | None:
        """Return the storm in which it ended; None of any other end."""

    @property
    def is_shutdown(self) -> bool:
        """Return whether the last exception could not be delivered."""


def lines(seen: Seen) -> tuple[str, ...]:
    """Return one line for each event after the first, and what the machine did then; none where nothing was fatal.

    The last ones are kept if there are too many.
    """
    if not seen.events:
        return ()
    words = _following(seen.events)
    if seen.storm is not None:
        words = (*words, _storm_words(seen.storm), *_following(seen.storm.after))
    return (*words, "no exception could be delivered: triple fault, the machine resets") if seen.is_shutdown else words


def _following(happened: Sequence[Happened]) -> tuple[str, ...]:
    words = [
        f"{_follows(before.record, after)}{title(after.record)}{_reason(before)}"
        for before, after in zip(happened, happened[1:], strict=False)
    ]
    if len(words) > _MAX_WORDS:
        left_out = len(words) - _MAX_WORDS
        words[2 : 2 + left_out] = [f"{left_out} more exceptions"]
    return tuple(words)


def _storm_words(repeated: Repetition) -> str:
    """What repeats, and what becomes of RSP."""
    storm, last = repeated.first, repeated.last
    words = f"the same {exceptions.name(storm.vector)} at RIP={storm.rip or 0:#x} again and again"
    words += f", {repeated.records} records"
    if storm.vector == PAGE_FAULT and storm.cr2 == storm.rip:
        words += ": the handler itself cannot be fetched"
    if storm.rsp is None or last.rsp is None:
        return words
    if last.rsp < storm.rsp:
        return f"{words}; RSP falls from {storm.rsp:#x} to {last.rsp:#x}"
    return f"{words}; RSP stays at {storm.rsp:#x}: it does not end by itself"


def _follows(before: InterruptRecord, after: Happened) -> str:
    record = after.record
    if after.of_delivery:
        what = {Kind.INT: f"INT {before.vector:#04x}", Kind.INTERRUPT: f"interrupt {before.vector:#04x}"}
        old = before.vector if record.old is None or record.old == NO_EXCEPTION else record.old
        name = what.get(before.kind) or exceptions.name(old)
        return f"while {name} was delivered: "
    if before.is_exception and record.rip != before.rip:
        likely = "" if record.access == "fetch" and record.cr2 == record.rip else "most likely "
        return f"{likely}in the handler of {exceptions.name(before.vector)}: "
    return ""


def _reason(before: Happened) -> str:
    """Why the delivery of ``before`` failed."""
    words = _reason_words(before)
    return f"; {words}" if words else ""


def _reason_words(failed: Happened) -> str:
    """In words why an event could not be delivered; empty where nothing bears out one reason."""
    record, reason = failed.record, failed.why
    cpu, vector = record.cpu, record.vector
    at = "" if failed.touched is None else f" at {failed.touched:#x}"
    if reason is Why.NO_IDT:
        return _no_idt_words(cpu)
    if reason is Why.BEYOND_IDT:
        return f"gate {vector} is beyond the IDT's limit" + ("" if cpu.idt is None else f" {cpu.idt[1]:x}h")
    if reason is Why.IDT_UNMAPPED and failed.touched is not None:
        return f"IDT gate {gate_at(cpu, failed.touched)}{at} cannot be read"
    if reason is Why.GDT_UNMAPPED and failed.touched is not None and cpu.gdt is not None:
        return f"GDT entry {(failed.touched - cpu.gdt[0]) & ~7:#x}{at} cannot be read"
    if reason is Why.STACK_UNMAPPED and record.rsp is not None and failed.touched is not None:
        own = 0 < (record.rsp - failed.touched) % (1 << 64) <= FRAME_REACH
        return f"the push to the stack{at} failed" if own else f"the push to the stack of the TSS,{at}, failed"
    named = f"{failed.selector:x}h" if failed.selector is not None else ""
    limit = "" if cpu.gdt is None else f" {cpu.gdt[1]:x}h"
    gate = f"gate {vector}"
    words = {
        Why.GATE_NOT_PRESENT: f"{gate}, or the code segment that it names, is not present",
        Why.GATE_BAD: f"{gate} or its selector is bad",
        Why.GATE_BAD_OR_PRIVILEGED: f"{gate} is bad, or not for programs (its DPL is below 3)",
        Why.NULL_SELECTOR: f"{gate} has a null selector",
        Why.BEYOND_GDT: f"{gate} has selector {named}, beyond the GDT's limit{limit}",
        Why.BAD_SELECTOR: f"{gate} has selector {named}, which is no usable code segment",
        Why.SEGMENT_NOT_PRESENT: f"{gate} has selector {named}, whose segment is not present",
        Why.NO_TSS: "the TSS is bad or was never loaded",
        Why.TSS_UNMAPPED: f"the TSS{at} cannot be read",
        Why.STACK_BAD: "the stack's address is bad (not canonical, or beyond its segment)",
        Why.HANDLER_UNMAPPED: f"its handler{at} cannot be fetched",
    }
    if reason in words:
        return words[reason]
    return f"the CPU reached for {failed.touched:#x}" if failed.touched is not None else ""


def _no_idt_words(cpu: RegisterDump) -> str:
    """That no IDT is loaded, with what stands in the register if the log shows it."""
    return "no IDT is loaded" + ("" if cpu.idt is None else f" (base {cpu.idt[0]:x}, limit {cpu.idt[1]:x}h)")


def _death_words(death: Death, _spec: str = "") -> str:
    under = "" if death.cr3 is None else f" under CR3={death.cr3:#x}"
    nothing = "no exception can be delivered"
    return {
        DeathForm.STORM: "the handler was reached and faulted itself, over and over",
        DeathForm.STACK_ITSELF: "the stack itself is bad: the fault could not be pushed either",
        DeathForm.NO_IDT: f"no IDT is loaded: {nothing}",
        DeathForm.IDT_UNMAPPED: f"the IDT is not readable{under}: {nothing}",
        DeathForm.GDT_UNMAPPED: f"the GDT is not readable{under}: {nothing}",
        DeathForm.STACK_UNMAPPED: f"the stack is not writable{under}: {nothing}",
    }[death.form]


def _end_words(end: TripleFault, _spec: str = "") -> str:
    """A triple fault of which no record stands in the log, with what the registers at it and its witness tell."""
    return "; ".join(("triple fault, with no record of an exception before it", *_of_death(end)))


def _of_death(end: TripleFault) -> Iterator[str]:
    cpu = end.cpu
    if cpu.rip is not None:
        where = "in real mode" if cpu.is_protected is False else "with paging off" if cpu.has_paging is False else ""
        yield f"at RIP={cpu.rip:#x}{f', {where}' if where else ''}"
    if end.why is Why.NO_IDT or has_no_idt(cpu):
        yield f"{_no_idt_words(cpu)}: no exception can be delivered"
    elif end.struck is not None:
        yield f"{exceptions.name(end.struck)} was raised while #DF was delivered"
    if cpu.cr2 and cpu.has_paging:
        gate = gate_at(cpu, cpu.cr2)
        if gate is not None:
            yield f"CR2={cpu.cr2:#x} is gate {gate} of the IDT ({exceptions.name(gate)}), which cannot be read"
        else:
            own = cpu.cr2 == (cpu.rip if cpu.linear is None else cpu.linear)
            yield f"CR2={cpu.cr2:#x}: the address of the last page fault" + (", which is the instruction's own" if own else "")
    holders = [name for name, value in cpu.general.items() if name in _GENERAL and cpu.cr3 and value == cpu.cr3]
    if cpu.has_paging and holders:
        yield f"{holders[0]} holds what is in CR3: most likely right behind `mov cr3, {holders[0].lower()}`"
    if end.said:
        yield end.said


def _place_words(cpu: RegisterDump) -> str:
    """Where a CPU stands, as ``at RIP=0x.., CR3=0x.., 64-bit, CPL 0, halted, interrupts off``.

    Empty if no RIP is known. What the dump does not hold is left out; without paging CR2 and CR3 mean nothing.
    """
    if cpu.rip is None:
        return ""
    words = [f"at {'EIP' if cpu.code_bits in (16, 32) else 'RIP'}={cpu.rip:#x}"]
    if cpu.has_paging is not False:
        words += [f"{name}={value:#x}" for name, value in (("CR2", cpu.cr2), ("CR3", cpu.cr3)) if value]
    if cpu.is_protected is False:
        words.append("real mode")
    else:
        if cpu.code_bits is not None:
            words.append(f"{cpu.code_bits}-bit")
        if cpu.has_paging is False:
            words.append("paging off")
        if cpu.cpl is not None:
            words.append(f"CPL {cpu.cpl}")
    if cpu.halted:
        words.append("halted")
    if cpu.flags is not None:
        words.append(_interrupts(cpu.flags))
    return ", ".join(words)


def _stopped_words(end: Stopped, _spec: str = "") -> str:
    """Why whoever runs the guest gave it up, and where the CPU stood."""
    return ", ".join(filter(None, (end.why, _place_words(end.cpu))))


def _last_words(dump: LastDump, _spec: str = "") -> str:
    """A dump as ``interrupt 0x20 (record 150) at RIP=0x.., CR3=0x.., 64-bit, CPL 0, interrupts on``."""
    mode = "64-bit" if dump.is_64 else "32-bit or 16-bit"
    words = [f"{text(dump.whose)} at {'RIP' if dump.is_64 else 'EIP'}={dump.ip:#x}"]
    if dump.cr3 is not None:
        words.append(f"CR3={dump.cr3:#x}")
    words += ["real mode" if dump.is_protected is False else mode, f"CPL {dump.cpl}"]
    if dump.halted:
        words.append("halted")
    return ", ".join([*words, _interrupts(dump.flags)])


def _interrupts(flags: int) -> str:
    return f"interrupts {'on' if flags & RFLAGS_IF else 'off'}"


def _shown_words(shown: Shown, spec: str = "") -> str:
    """Whose registers were shown, and where that CPU stood; ``alone``: what they tell and do not tell without an event."""
    cpu = shown.cpu
    if spec != ALONE:
        return f"{shown.whose} {_place_words(cpu)}".rstrip()
    note = "registers alone: nothing here says that the guest died, or of what"
    if cpu.halted and cpu.flags is not None and not cpu.flags & RFLAGS_IF:
        note += "; this CPU is halted with interrupts off: only an NMI, an SMI, INIT or a reset wakes it"
    if has_no_idt(cpu):
        note += f"; {_no_idt_words(cpu)}: the first exception would be a triple fault"
    return note


def _count_words(count: Count, spec: str = "") -> str:
    """``126 exceptions``; ``at least`` where some were left out of the log; ``handled``: that all were, and the interrupts."""
    words = f"{count.records} exceptions and interrupts"
    if count.exceptions is not None and count.interrupts is not None:
        least = "at least " if count.records > count.exceptions + count.interrupts else ""
        words = f"{least}{_number(count.exceptions, 'exception')}"
    if spec != HANDLED:
        return words
    also = f", and {_number(count.interrupts, 'interrupt')}" if count.interrupts else ""
    return f"{words}, {'handled' if count.exceptions == 1 else 'all handled'}{also}"


def _number(count: int, of: str) -> str:
    return f"{count} {of}{'s' * (count != 1)}"


# The facts of logs that a message may hold, each with its words.
WORDS: Mapping[type, Callable[[Any, str], str]] = {
    InterruptRecord: lambda record, _spec: title(record),
    TripleFault: _end_words,
    Stopped: _stopped_words,
    Shown: _shown_words,
    LastDump: _last_words,
    Death: _death_words,
    Count: _count_words,
}
