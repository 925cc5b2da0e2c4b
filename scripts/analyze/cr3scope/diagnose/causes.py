"""Why a guest without our trace died or stopped, from the log and the paused machine's own memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.after_death import at_death
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.climb import climb_causes
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.facts.refused_instruction import refused_instruction
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import death_in
from cr3scope.diagnose.dead import page_fault_cause
from cr3scope.input.logs.delivery import has_no_idt
from cr3scope.input.logs.event import Kind
from cr3scope.input.logs.log_report import LogReport
from cr3scope.diagnose.stopped import findings
from cr3scope.diagnose.rules.processors import ap_shared_tss
from cr3scope.diagnose.rules.stack import iret_frame
from cr3scope.diagnose.rules.switch import died_in_real_mode, large_pages_off, paging_without_pe
from cr3scope.diagnose.shared.refused_gate import refused_gate, refused_selector
from cr3scope.diagnose.spoken import spoken
from cr3scope.diagnose.undelivered import undelivered
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.model.code_prediction import predict_code
from cr3scope.model.known import NOTHING, Known
from cr3scope.paging.walk import Reason, is_canonical, walk
from cr3scope.target.standstill import LOOP_BYTES, Look, by_cpu, is_spinning, place, standing
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PG, CR4_PCIDE
from cr3scope.x86.decode.instruction import can_decode
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, Descriptor, Gate
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mov_cr3 import LONGEST, NO_FLUSH, mov_cr3_at
from cr3scope.x86.names import covered
from cr3scope.x86.standing import Standing

_SLED_BYTES = 16
_ZEROS, _NO_MEMORY = bytes(_SLED_BYTES), b"\xff" * _SLED_BYTES
_SELECTOR_ERRORS = exceptions.SELECTOR_ERRORS


def first_cause(
    cpus: Sequence[StoppedCpu],
    report: LogReport,
    looks: Sequence[Look],
    at_fault: AtFault,
    known_of: Callable[[StoppedCpu], Known] = lambda _cpu: NOTHING,
) -> tuple[StoppedCpu, tuple[Finding, ...]]:
    """Return the CPU whose cause can be named, and the cause; ``cpus`` are in the order of ``judged.in_order``.

    ``at_fault``: the registers when the report's fatal exception came, as far as they are known. ``known_of``
    returns what files and memory tell of a CPU's addresses. QmpError if QEMU stops answering.
    """
    for cpu in cpus:
        rips = [place(seen[cpu.number]) for seen in looks if cpu.number < len(seen)]
        found = spoken(cpu, causes(cpu, report, rips, at_fault, known_of(cpu), cpus))
        if found or report.ending is not Ending.HANG:
            return cpu, found
    return cpus[0], ()


def causes(
    snapshot: StoppedCpu, report: LogReport, rips: Sequence[int], at_fault: AtFault, known: Known = NOTHING,
    others: Sequence[StoppedCpu] = (),
) -> tuple[Finding, ...]:
    """Return findings for what the log reports; ``rips`` are samples of RIP of a guest that hung.

    ``known``: what files and memory tell of addresses; ``others``: all CPUs. QmpError if QEMU stops answering.
    """
    # Where nobody has loaded an IDT, what delivery met there is no fault of its gates.
    no_idt = bool(report.events) and has_no_idt(report.events[0].record.cpu)
    fault = report.first if no_idt and report.first is not None else report.fatal or report.first
    if no_idt and report.events[0].record.kind is Kind.INTERRUPT:
        return ()  # the log tells it; whoever has no IDT can take no interrupt, whatever the tables map
    if report.ending in (Ending.TRIPLE_FAULT, Ending.STORM):
        if report.first is None and snapshot.mode is CpuMode.REAL:
            return tuple(_died_in_real_mode(snapshot))
        if wide := tuple(climb_causes(snapshot, fault, at_fault.registers, others)):
            return wide
    if report.ending is Ending.HANG:
        found = next(_hang(snapshot, rips), None)
    elif fault is not None and report.ending is not None:
        found = _shared_task(snapshot, fault, at_fault, others) or next(_fault(snapshot, report, fault, at_fault, known), None)
        if returned := tuple(iret_frame.RULE.logged(death_in(report))) or tuple(_misread(snapshot, fault, at_fault)):
            # What the handler was called for it has taken: it died of its own return.
            return (*returned, *(replace(one, severity=Severity.NOTE) for one in (found,) if one is not None))
        if report.ending is Ending.STORM and (found is None or found.rule == "instruction-refused"):
            # What was raised first is told, but it is not why it never ended.
            return tuple(filter(None, (_handler_loop(snapshot, report, fault), found)))
    else:
        found = None
    return (found,) if found else ()


def _misread(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault) -> Iterator[Finding]:
    now = at_death(snapshot, at_fault)
    if now is not None and fault.rip is not None and now.pc == _place(snapshot, fault, at_fault):
        yield from iret_frame.in_memory(now)


def _shared_task(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault, others: Sequence[StoppedCpu]) -> Finding | None:
    if fault.rip is None:
        return None
    return ap_shared_tss.refused(snapshot, replace(fault, rip=_place(snapshot, fault, at_fault)), others)


def _died_in_real_mode(snapshot: StoppedCpu) -> Iterator[Finding]:
    if snapshot.cpu.cr0 & CR0_PG:
        yield paging_without_pe.of_cr0(snapshot.cpu.cr0)
        return
    if not snapshot.number:  # the boot CPU; the others are sent to a trampoline
        yield from died_in_real_mode.of_cpu(snapshot)
        return
    segment, offset = snapshot.selectors.get("CS", 0), snapshot.rip
    yield BY_ID["ap-trampoline"].finding(
        message("CPU {cpu} died in real mode at {cs:04x}:{ip:04x}", cpu=snapshot.number, cs=Hex(segment), ip=Hex(offset)),
        message("triple fault; code there: {code}", code=snapshot.physical(snapshot.pc, _SLED_BYTES)),
    )


def _fault(
    snapshot: StoppedCpu, report: LogReport, fault: Fault, at_fault: AtFault, known: Known
) -> Iterator[Finding]:
    if fault.rip is None:
        return
    at = _place(snapshot, fault, at_fault)
    fault = replace(fault, rip=at)
    yield from _zeros(snapshot, at)
    if snapshot.mode is CpuMode.PROTECTED:
        if report.events and report.events[0].record.fault == report.first and report.first.vector == exceptions.PAGE_FAULT:
            yield from page_fault_cause(snapshot, replace(report.first, rip=_place(snapshot, report.first, at_fault)), known)
        yield from _undelivered(snapshot, report)
    if fault.vector == exceptions.PAGE_FAULT:
        yield from page_fault_cause(snapshot, fault, known)
    elif fault.vector in _SELECTOR_ERRORS and fault.error_code:
        first = report.first
        if first is not None and first != fault and first.rip == fault.rip:
            if snapshot.mode is CpuMode.LONG:  # of other modes the model has told it, or does not follow them
                yield from _gate(snapshot, first.vector, fault.error_code)
        else:
            yield from _own_exception(snapshot, fault, at_fault)
    elif fault.vector == exceptions.PROTECTION:
        levels = snapshot.cpu.levels
        if not is_canonical(at, levels):
            yield BY_ID["non-canonical"].finding(
                message("the jump to {rip} is not canonical: bits 63:{lowest_bit} differ",
                        rip=Hex(at), lowest_bit=12 + 9 * levels - 1),
                message("RIP={rip}", rip=Hex(at)),
            )  # fmt: skip
        else:
            yield from _mov_cr3(snapshot, at)
            yield from _stack_not_canonical(snapshot, fault, at_fault)
            yield from refused_instruction(snapshot, fault, at_fault)
    elif fault.vector == exceptions.STACK_FAULT:
        yield from _stack_not_canonical(snapshot, fault, at_fault)
    elif fault.vector in (exceptions.UNDEFINED, exceptions.NO_FPU):
        yield from refused_instruction(snapshot, fault, at_fault)


def _place(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault) -> int:
    """The linear address of the instruction, in the segment of then: a handler's may have another base."""
    if at_fault.linear is not None and at_fault.rip_at(at_fault.linear) == fault.rip:
        return at_fault.linear
    return snapshot.delivery_registers.linear("cs", fault.rip or 0)


def _own_exception(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault) -> Iterator[Finding]:
    """Yield why an instruction refuses the selector that it loads, if the model refuses it with the same exception."""
    now = at_death(snapshot, at_fault)
    selector = (fault.error_code or 0) & -DESCRIPTOR_BYTES
    if now is None or not can_decode() or now.gdt is None:
        return
    if selector > now.gdt.limit and not _is_in_use(now):  # the log tells that nobody loaded one
        return
    seen = predict_code(now)
    own = seen.own
    if own is not None and own.registers.pc == fault.rip and own.refused.vector == fault.vector:
        if own.refused.error_code is not None and exceptions.same_selector_error(own.refused.error_code, fault.error_code or 0):
            yield from findings(now, seen)


def _is_in_use(now: StoppedCpu) -> bool:
    """Whether the GDT in memory has the code segment that the CPU runs in: it is the one that was meant."""
    value, own = now.descriptor(now.selectors.get("CS", 0)), now.segments.get("CS")
    return value is not None and own is not None and Descriptor(value).segment(now.selectors["CS"]) == own


def _undelivered(snapshot: StoppedCpu, report: LogReport) -> Iterator[Finding]:
    """What delivery of an event met, of which the log tells that it failed."""
    for one, raised in zip(report.events, report.events[1:]):
        if raised.of_delivery:
            vector = raised.record.struck if raised.record.vector == exceptions.DOUBLE_FAULT else raised.record.vector
            if vector is not None:
                yield from undelivered(snapshot, one.record, vector)
            return


def _stack_not_canonical(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault) -> Iterator[Finding]:
    """Yield what is wrong with RSP, if the instruction uses the stack: it names no address itself."""
    if not {"RIP", "RSP"} <= at_fault.registers.keys() or not can_decode():
        return
    now = replace(snapshot, registers={**snapshot.registers, **at_fault.registers}, code_bits=at_fault.code_bits or 64)
    seen = predict_code(now)
    step = seen.refused
    if seen.veto is None or seen.veto.reason is not Reason.NON_CANONICAL or step is None or step.by != fault.rip:
        return
    if step.role.is_stack:
        yield from findings(now, seen)


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
            why=why.title if why else message("{again}", again=Fault(again.vector, again.error_code, None, None)),
        ),
        *(why.proof if why else ()),
    )
    return replace(found, entry=why.entry, range=why.range) if why else found


def _hang(snapshot: StoppedCpu, rips: Sequence[int]) -> Iterator[Finding]:
    rip = snapshot.pc
    yield from _mov_cr3(snapshot, rip)
    yield from _zeros(snapshot, rip)
    if snapshot.halted:
        if not snapshot.interrupts_on:
            yield _halted(standing(snapshot.registers, snapshot.number))
    elif _is_tight(rips):
        yield _loop(standing(snapshot.registers, snapshot.number), rips, snapshot.bytes_at(min(rips), _SLED_BYTES))


def _is_tight(rips: Sequence[int]) -> bool:
    return len(rips) > 1 and min(rips) >= 0 and max(rips) - min(rips) < LOOP_BYTES


def _loop(there: Standing, rips: Sequence[int], code: bytes) -> Finding:
    first, last = Hex(min(rips)), Hex(max(rips))
    title = message("a tight loop at RIP={rip} with interrupts off", rip=first)
    proof = message("RIP stayed within {rip}..{last} in {samples} samples, RFLAGS.IF=0", rip=first, last=last,
                    samples=len(rips))  # fmt: skip
    if there.interrupts_on:
        title = message("a tight loop at RIP={rip} with interrupts on, but none comes: all are masked", rip=first)
        proof = message("RIP stayed within {rip}..{last} in {samples} samples, RFLAGS.IF=1, none in the log",
                        rip=first, last=last, samples=len(rips))  # fmt: skip
    bytes_there = [message("code: {code}", code=code)] if code else []
    return BY_ID["hang-loop"].finding(title, proof, *bytes_there)


def still_spinning(judged: StoppedCpu, looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield a note if one of several CPUs is in a tight loop with interrupts off while others live on.

    An application processor may wait so for its start, a kernel that panicked on it looks the same.
    """
    cpus = by_cpu(looks)
    if not 1 < len(cpus) > judged.number or judged.mode is CpuMode.REAL:
        return
    if not is_spinning(cpus[judged.number]):
        return
    rip = min(place(seen) for seen in cpus[judged.number])
    yield BY_ID["hang-loop"].finding(
        message("CPU {cpu} of {cpus} is in a tight loop at RIP={rip} with interrupts off",
                cpu=judged.number, cpus=len(cpus), rip=Hex(rip)),
        Message("other CPUs live on: it waits to be started, or it has given up"),
        severity=Severity.NOTE,
    )


def _halted(there: Standing) -> Finding:
    return BY_ID["hang-hlt"].finding(
        message("halted at RIP={rip} with interrupts off: nothing can wake it", rip=Hex(there.rip)),
        Message("RFLAGS.IF=0, HLT=1"),
    )


def _zeros(snapshot: StoppedCpu, rip: int) -> Iterator[Finding]:
    """Zeros at RIP are certain; a sled that ran on to the end of what is mapped leaves them behind it."""
    at_rip, before = snapshot.bytes_at(rip, _SLED_BYTES), snapshot.bytes_at(rip - _SLED_BYTES, _SLED_BYTES)
    is_at_border = rip % PAGE_BYTES == 0 and before in (b"", _ZEROS)  # it may have run on to here
    if at_rip == _ZEROS:
        yield BY_ID["zero-sled"].finding(
            message("the CPU runs through zeros at {rip}: there is no code", rip=Hex(rip)),
            message("{zeros} bytes from RIP={rip} are zero", zeros=_SLED_BYTES, rip=Hex(rip)),
        )
    elif not at_rip and not is_at_border and _without_ram(snapshot, rip):
        yield from _stands_beyond_ram(snapshot, rip)
    elif at_rip in (b"", _NO_MEMORY) and rip and is_at_border:
        if not at_rip and not before:
            yield from _no_ram(snapshot, rip)
        if before == _ZEROS:
            ends = Message("memory ends (it reads as FFh)") if at_rip else Message("a mapping ends")
            yield BY_ID["zero-sled"].finding(
                message("the CPU ran through zeros up to {rip}: there was no code", rip=Hex(rip)),
                message("{zeros} bytes before RIP={rip} are zero, and at RIP {ends}",
                        zeros=_SLED_BYTES, rip=Hex(rip), ends=ends),
            )  # fmt: skip


def _without_ram(snapshot: StoppedCpu, virt: int) -> bool:
    """Whether an address is mapped to where the machine has no RAM."""
    phys, ranges = walk(snapshot, snapshot.cpu, virt, snapshot.platform).phys, tuple(snapshot.ram())
    return phys is not None and bool(ranges) and not any(first <= phys <= last for first, last in ranges)


def _ram_ends(snapshot: StoppedCpu, phys: int) -> Message:
    return message("RAM below that ends at {last}", last=Hex(max((last for _, last in snapshot.ram() if last < phys), default=0)))


def _no_ram(snapshot: StoppedCpu, rip: int) -> Iterator[Finding]:
    """Addresses up to RIP that are mapped to where the machine has no RAM: what is read there is no code."""
    path = walk(snapshot, snapshot.cpu, rip - 1, snapshot.platform)
    phys = path.phys
    if phys is None or not path.entries or not _without_ram(snapshot, rip - 1):
        return
    leaf, size = path.leaf, path.page_size
    found = BY_ID["zero-sled"].finding(
        message("the CPU ran up to {rip} through a page without RAM: {leaf} maps {virt} to {phys}",
                rip=Hex(rip), leaf=leaf, virt=Hex(rip - size), phys=Hex(phys & -size)),
        _ram_ends(snapshot, phys),
    )  # fmt: skip
    yield replace(found, entry=leaf, range=covered(leaf, rip - 1))


def _stands_beyond_ram(snapshot: StoppedCpu, rip: int) -> Iterator[Finding]:
    """The code that runs has no RAM behind it: where it is mapped to its own address, that was taken for a physical one."""
    if (found := large_pages_off.of_code(snapshot, rip)) is not None:
        yield found
        return
    path = walk(snapshot, snapshot.cpu, rip, snapshot.platform)
    phys = path.phys
    if phys is None or not path.entries:
        return
    leaf, size = path.leaf, path.page_size
    if phys == rip:
        title = message("{leaf} holds the virtual address {virt} instead of a physical one", leaf=leaf, virt=Hex(rip & -size))
        found = BY_ID["virt-address-in-entry"].finding(title, message("the code at {rip} is mapped to where no RAM is", rip=Hex(rip)),
                                                       _ram_ends(snapshot, phys))  # fmt: skip
    else:
        title = message("the code at {rip} has no RAM behind it: {leaf} maps {virt} to {phys}",
                        rip=Hex(rip), leaf=leaf, virt=Hex(rip & -size), phys=Hex(phys & -size))  # fmt: skip
        found = BY_ID["zero-sled"].finding(title, _ram_ends(snapshot, phys))
    yield replace(found, entry=leaf, range=covered(leaf, rip))


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
            message("{instruction} loads {cr3} at RIP={rip}: reserved bits {reserved}",
                    instruction=found.text, cr3=Hex(value), rip=Hex(rip), reserved=Hex(reserved)),
            message("physical addresses have {phys_bits} bits here; CR3 is still {cr3_now}",
                    phys_bits=cpu.max_phys_bits, cr3_now=Hex(cpu.cr3)),
        )


def _gate(snapshot: StoppedCpu, vector: int, error: int) -> Iterator[Finding]:
    """The gate of an exception whose delivery failed (SDM 3A, 7.14.1 and 7.12.1.2)."""
    found = snapshot.gate(vector)
    if found is None:
        return
    at, raw = found
    gate = Gate.decode(raw.to_bytes(snapshot.mode.gate_bytes, "little"))
    rule, why = "idt-gate-bad", refused_gate(gate)
    if why is None:
        rule, refused = "selector-mismatch", _refused(snapshot, gate.selector)
        if refused is None:
            return
        why = message("names selector {selector:02x}h, {refused}", selector=Hex(gate.selector), refused=refused)
    limit = message("GDT limit {gdt_limit:x}h", gdt_limit=Hex(snapshot.gdt.limit)) if snapshot.gdt else None
    yield BY_ID[rule].finding(
        message("IDT gate {gate} ({vector}) at {virt} {why}",
                gate=vector, vector=Vector(vector), virt=Hex(at), why=why),
        message("{vector} could not be delivered: error code {error_code:04x}; gate {value:#034x}",
                vector=Vector(vector), error_code=Hex(error), value=Hex(raw)),
        *((limit,) if limit else ()),
    )  # fmt: skip


def _refused(snapshot: StoppedCpu, selector: int) -> Message | None:
    """Why delivery refuses the selector; a GDT that cannot be read refuses nothing."""
    gdt = snapshot.gdt
    if gdt is None:
        return None

    def descriptor(offset: int) -> bytes | None:
        value = snapshot.descriptor(offset)
        return None if value is None else value.to_bytes(DESCRIPTOR_BYTES, "little")

    return refused_selector(selector, gdt.limit, descriptor)
