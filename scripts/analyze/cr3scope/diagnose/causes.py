"""Why a guest without our trace died or stopped, from the log and the paused machine's own memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.facts.long_mode_off import long_mode_off
from cr3scope.diagnose.facts.refused_instruction import refused_instruction
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.dead import page_fault_cause
from cr3scope.input.logs.observe import LogReport
from cr3scope.message import Hex, Message, Vector, as_messages, message
from cr3scope.paging.walk import is_canonical
from cr3scope.target.standstill import LOOP_BYTES, Look, by_cpu, is_spinning, standing
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CR4_PCIDE
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mov_cr3 import LONGEST, NO_FLUSH, mov_cr3_at
from cr3scope.x86.standing import Standing

_SLED_BYTES = 16
_ZEROS, _NO_MEMORY = bytes(_SLED_BYTES), b"\xff" * _SLED_BYTES
_SELECTOR_ERRORS = frozenset({exceptions.NOT_PRESENT, exceptions.PROTECTION})
_GATE_PRESENT, _DESCRIPTOR_PRESENT = 1 << 47, 1 << 47
_GATE_TYPES = (0xE, 0xF)  # 64-bit interrupt and trap gate (SDM 3A, table 3-2)
_CR0_PE = 1
_CODE_SEGMENT, _CODE_LONG = 0x18 << 40, 1 << 53


def first_cause(
    cpus: Sequence[StoppedCpu],
    report: LogReport,
    looks: Sequence[Look],
    at_fault: AtFault,
) -> tuple[StoppedCpu, tuple[Finding, ...]]:
    """Return the CPU whose cause can be named, and the cause; ``cpus`` are in the order of ``judged.in_order``.

    ``at_fault``: the registers when the report's fatal exception came, as far as they are known. QmpError if
    QEMU stops answering.
    """
    for cpu in cpus:
        rips = [seen[cpu.number].get("RIP", 0) for seen in looks if cpu.number < len(seen)]
        found = causes(cpu, report, rips, at_fault)
        if found or report.ending is not Ending.HANG:
            return cpu, found
    return cpus[0], ()


def causes(
    snapshot: StoppedCpu, report: LogReport, rips: Sequence[int], at_fault: AtFault
) -> tuple[Finding, ...]:
    """Return findings for what the log reports; ``rips`` are samples of RIP of a guest that hung.

    QmpError if QEMU stops answering.
    """
    if not snapshot.in_long_mode:
        return tuple(_outside_long_mode(snapshot, report, at_fault))
    fault = report.fatal or report.first
    if report.ending is Ending.HANG:
        found = next(_hang(snapshot, rips), None)
    elif fault is not None and report.ending is not None:
        found = next(_fault(snapshot, report, fault, at_fault), None)
        if report.ending is Ending.STORM and (found is None or found.rule == "instruction-refused"):
            # What was raised first is told, but it is not why it never ended.
            return tuple(filter(None, (_handler_loop(snapshot, report, fault), found)))
    else:
        found = None
    return (found,) if found else ()


def _outside_long_mode(
    snapshot: StoppedCpu, report: LogReport, at_fault: AtFault
) -> Iterator[Finding]:
    """What needs no walk of 64-bit tables."""
    there = standing(snapshot.registers, snapshot.number)
    in_real_mode = not snapshot.registers.get("CR0", _CR0_PE) & _CR0_PE
    if report.ending is Ending.TRIPLE_FAULT and report.first is None and in_real_mode:
        yield _died_in_real_mode(snapshot)
    elif report.ending in (Ending.TRIPLE_FAULT, Ending.STORM):
        yield from long_mode_off(snapshot, at_fault.registers)
    elif report.ending is Ending.HANG and there.halted and not there.interrupts_on:
        yield _halted(there)


def _died_in_real_mode(snapshot: StoppedCpu) -> Finding:
    segment, offset = snapshot.selectors.get("CS", 0), snapshot.registers.get("EIP", 0)
    code = snapshot.physical(segment * 16 + offset & 0xFFFFF, _SLED_BYTES).hex(" ")
    return BY_ID["ap-trampoline"].finding(
        Message(f"CPU {snapshot.number} died in real mode at {segment:04x}:{offset:04x}"),
        *as_messages(f"triple fault; code there: {code}"),
    )


def _fault(
    snapshot: StoppedCpu, report: LogReport, fault: Fault, at_fault: AtFault
) -> Iterator[Finding]:
    if fault.rip is None:
        return
    yield from _zeros(snapshot, fault.rip)
    if fault.vector == exceptions.PAGE_FAULT:
        yield from page_fault_cause(snapshot, fault)
    elif fault.vector in _SELECTOR_ERRORS and fault.error_code:
        first = report.first
        if first is not None and first != fault and first.rip == fault.rip:
            yield from _gate(snapshot, first.vector, fault.error_code)
    elif fault.vector == exceptions.PROTECTION:
        levels = snapshot.cpu.levels
        if not is_canonical(fault.rip, levels):
            top = 12 + 9 * levels - 1
            title = f"the jump to {fault.rip:#x} is not canonical: bits 63:{top} differ"
            yield BY_ID["non-canonical"].finding(Message(title), *as_messages(f"RIP={fault.rip:#x}"))
        else:
            yield from _mov_cr3(snapshot, fault.rip)
            yield from refused_instruction(snapshot, fault, at_fault)
    elif fault.vector in (exceptions.UNDEFINED, exceptions.NO_FPU):
        yield from refused_instruction(snapshot, fault, at_fault)


def _handler_loop(snapshot: StoppedCpu, report: LogReport, first: Fault) -> Finding | None:
    """What keeps the handler from its work, where that is another exception than the first."""
    again = next((f for f in reversed(report.exceptions) if f.rip != first.rip), None)
    if again is None:
        return None
    why = next(page_fault_cause(snapshot, again), None)
    found = BY_ID["handler-faults"].finding(
        message(
            "the handler of {vector} faults itself at RIP={handler_rip}: {why}",
            vector=Vector(first.vector), handler_rip=Hex(again.rip or 0),
            why=why.title if why else Message(exceptions.describe(again.vector, again.error_code)),
        ),
        *(why.proof if why else ()),
    )
    return replace(found, entry=why.entry, range=why.range) if why else found


def _hang(snapshot: StoppedCpu, rips: Sequence[int]) -> Iterator[Finding]:
    rip = snapshot.rip
    yield from _mov_cr3(snapshot, rip)
    yield from _zeros(snapshot, rip)
    if snapshot.halted:
        if not snapshot.interrupts_on:
            yield _halted(standing(snapshot.registers, snapshot.number))
    elif len(rips) > 1 and max(rips) - min(rips) < LOOP_BYTES:
        code = snapshot.bytes_at(min(rips), _SLED_BYTES).hex(" ")
        state = "off"
        flag = "RFLAGS.IF=0"
        if snapshot.interrupts_on:
            state, flag = "on, but none comes: all are masked", "RFLAGS.IF=1, none in the log"
        yield BY_ID["hang-loop"].finding(
            Message(f"a tight loop at RIP={min(rips):#x} with interrupts {state}"),
            *as_messages(f"RIP stayed within {min(rips):#x}..{max(rips):#x} in {len(rips)} samples, {flag}\n"
            f"code: {code}"),
        )


def still_spinning(judged: StoppedCpu, looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield a note if one of several CPUs is in a tight loop with interrupts off while others live on.

    An application processor may wait so for its start, a kernel that panicked on it looks the same.
    """
    cpus = by_cpu(looks)
    if not 1 < len(cpus) > judged.number or not judged.in_long_mode:
        return
    if not is_spinning(cpus[judged.number]):
        return
    rip = min(seen.get("RIP", 0) for seen in cpus[judged.number])
    yield BY_ID["hang-loop"].finding(
        Message(f"CPU {judged.number} of {len(cpus)} is in a tight loop at RIP={rip:#x} with interrupts off"),
        *as_messages("other CPUs live on: it waits to be started, or it has given up"),
        severity=Severity.NOTE,
    )


def _halted(there: Standing) -> Finding:
    return BY_ID["hang-hlt"].finding(
        Message(f"halted at RIP={there.rip:#x} with interrupts off: nothing can wake it"),
        *as_messages("RFLAGS.IF=0, HLT=1"),
    )


def _zeros(snapshot: StoppedCpu, rip: int) -> Iterator[Finding]:
    """Zeros at RIP are certain; a sled that ran on to the end of what is mapped leaves them behind it."""
    at_rip = snapshot.bytes_at(rip, _SLED_BYTES)
    if at_rip == _ZEROS:
        words = f"the CPU runs through zeros at {rip:#x}: there is no code"
        yield BY_ID["zero-sled"].finding(Message(words), *as_messages(f"{_SLED_BYTES} bytes from RIP={rip:#x} are zero"))
    elif at_rip in (b"", _NO_MEMORY) and rip and rip % PAGE_BYTES == 0:
        if snapshot.bytes_at(rip - _SLED_BYTES, _SLED_BYTES) == _ZEROS:
            words = f"the CPU ran through zeros up to {rip:#x}: there was no code"
            ends = "memory ends (it reads as FFh)" if at_rip else "a mapping ends"
            detail = f"{_SLED_BYTES} bytes before RIP={rip:#x} are zero, and at RIP {ends}"
            yield BY_ID["zero-sled"].finding(Message(words), *as_messages(detail))


def _mov_cr3(snapshot: StoppedCpu, rip: int) -> Iterator[Finding]:
    """The switch itself, where it was never completed."""
    found = mov_cr3_at(snapshot.bytes_at(rip, LONGEST))
    if found is None:
        return
    value = snapshot.registers.get(found.register.upper(), 0)
    cpu = snapshot.cpu
    reserved = value & -(1 << cpu.max_phys_bits)
    if cpu.cr4 & CR4_PCIDE:
        reserved &= ~NO_FLUSH
    if reserved:
        yield BY_ID["cr3-high-bits"].finding(
            Message(f"{found.loads(value)} at RIP={rip:#x}: reserved bits {reserved:#x}"),
            *as_messages(f"physical addresses have {cpu.max_phys_bits} bits here; CR3 is still {cpu.cr3:#x}"),
        )


def _gate(snapshot: StoppedCpu, vector: int, error: int) -> Iterator[Finding]:
    """The gate of an exception whose delivery failed (SDM 3A, 7.14.1 and 7.12.1.2)."""
    found = snapshot.gate(vector)
    if found is None:
        return
    at, gate = found
    selector = gate >> 16 & 0xFFFF
    rule = "idt-gate-bad"
    name = f"IDT gate {vector} ({exceptions.name(vector)}) at {at:#x}"
    if not gate & _GATE_PRESENT:
        why = "is not present"
    elif gate >> 40 & 0xF not in _GATE_TYPES:
        why = f"is no 64-bit interrupt or trap gate (type {gate >> 40 & 0xF:x}h)"
    else:
        rule = "selector-mismatch"
        descriptor = snapshot.descriptor(selector)
        if descriptor is None:
            why = f"names selector {selector:02x}h, which the GDT does not have"
        elif not descriptor & _DESCRIPTOR_PRESENT:
            why = f"names selector {selector:02x}h, whose descriptor is not present"
        elif descriptor & _CODE_SEGMENT != _CODE_SEGMENT or not descriptor & _CODE_LONG:
            why = f"names selector {selector:02x}h, which is no 64-bit code segment"
        else:
            return
    base = BY_ID[rule].finding(
        Message(f"{name} {why}"),
        *as_messages(f"{exceptions.name(vector)} could not be delivered: error code {error:04x}; gate {gate:#034x}"),
    )
    limit = f"GDT limit {snapshot.gdt.limit:x}h" if snapshot.gdt else ""
    yield replace(base, proof=(*base.proof, *as_messages(limit)))
