"""What a chain of exceptions says, in words: why each one followed from the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.input.logs.delivery import Why, gate_at, has_no_idt
from cr3scope.input.logs.event import NO_EXCEPTION, InterruptRecord, Kind, RegisterDump, TripleFault
from cr3scope.input.logs.happened import Happened
from cr3scope.x86 import exceptions
from cr3scope.x86.exceptions import FRAME_REACH, PAGE_FAULT

_MAX_WORDS = 8
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


def chain_words(happened: Sequence[Happened]) -> tuple[str, ...]:
    """Return one line for each event after the first. The last ones are kept if there are too many."""
    words = [
        f"{_follows(before.record, after)}{title(after.record)}{_reason(before)}"
        for before, after in zip(happened, happened[1:], strict=False)
    ]
    if len(words) > _MAX_WORDS:
        left_out = len(words) - _MAX_WORDS
        words[2 : 2 + left_out] = [f"{left_out} more exceptions"]
    return tuple(words)


def storm_words(storm: InterruptRecord, last: InterruptRecord, count: int) -> str:
    """Return what repeats, and what becomes of RSP."""
    words = f"the same {exceptions.name(storm.vector)} at RIP={storm.rip or 0:#x} again and again"
    words += f", {count} records"
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
    words = reason_words(before)
    return f"; {words}" if words else ""


def reason_words(failed: Happened) -> str:
    """Return in words why an event could not be delivered; empty where nothing bears out one reason."""
    record, reason = failed.record, failed.why
    cpu, vector = record.cpu, record.vector
    at = "" if failed.touched is None else f" at {failed.touched:#x}"
    if reason is Why.NO_IDT:
        return no_idt_words(cpu)
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


def no_idt_words(cpu: RegisterDump) -> str:
    """Return that no IDT is loaded, with what stands in the register if the log shows it."""
    return "no IDT is loaded" + ("" if cpu.idt is None else f" (base {cpu.idt[0]:x}, limit {cpu.idt[1]:x}h)")


def form_words(happened: Sequence[Happened], is_storm: bool) -> str | None:
    """Return what kind of death it is, from the structure alone; None if it is none of the known."""
    if is_storm:
        return "the handler was reached and faulted itself, over and over"
    first = happened[0]
    cr2, rsp = first.record.fault.cr2, first.record.rsp
    if len(happened) > 1 and cr2 is not None and rsp is not None and 0 < (rsp - cr2) % (1 << 64) <= FRAME_REACH:
        if first.why is Why.STACK_UNMAPPED:
            return "the stack itself is bad: the fault could not be pushed either"
    nothing = "no exception can be delivered"
    return {
        Why.NO_IDT: f"no IDT is loaded: {nothing}",
        Why.IDT_UNMAPPED: f"the IDT is not readable{_under(first)}: {nothing}",
        Why.GDT_UNMAPPED: f"the GDT is not readable{_under(first)}: {nothing}",
        Why.STACK_UNMAPPED: f"the stack is not writable{_under(first)}: {nothing}",
    }.get(first.why) if first.why else None


def _under(happened: Happened) -> str:
    cr3 = happened.record.cr3
    return "" if cr3 is None else f" under CR3={cr3:#x}"


def death_words(end: TripleFault) -> str:
    """Return a triple fault of which no record stands in the log, with what the registers at it and its witness tell."""
    return "; ".join(("triple fault, with no record of an exception before it", *_of_death(end)))


def _of_death(end: TripleFault) -> Iterator[str]:
    cpu = end.cpu
    if cpu.rip is not None:
        where = "in real mode" if cpu.is_protected is False else "with paging off" if cpu.has_paging is False else ""
        yield f"at RIP={cpu.rip:#x}{f', {where}' if where else ''}"
    if end.why is Why.NO_IDT or has_no_idt(cpu):
        yield f"{no_idt_words(cpu)}: no exception can be delivered"
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
