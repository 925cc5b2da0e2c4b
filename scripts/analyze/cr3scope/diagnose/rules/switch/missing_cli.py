"""Interrupts are on across the switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.refusal import refusal
from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.event import Kind
from cr3scope.message import Event, Hex, Message, Span, message
from cr3scope.x86.access import AccessKind, EntryRef, Fault
from cr3scope.x86.cpu_state import RFLAGS_IF
from cr3scope.x86.descriptors import GATE_BYTES, Gate
from cr3scope.x86.exceptions import FIRST_INTERRUPT
from cr3scope.x86.mode import PROTECTED

if TYPE_CHECKING:
    from cr3scope.model.machine import Chain
    from cr3scope.paging.walk import PageFault
    from cr3scope.x86.registers import Registers


def _check(context: Context) -> Iterator[Finding]:
    cpu, registers = context.cpu, context.registers
    if not cpu.rflags & RFLAGS_IF:
        return
    first = registers.idt_base + GATE_BYTES * FIRST_INTERRUPT
    last = registers.idt_base + registers.idt_limit
    fault = _fault(context, first, AccessKind.READ, last - first + 1) if last >= first else None
    if fault is not None:
        yield _deadly(context, _unmapped_idt(Span(first, last), fault), fault)
        return
    for handler in _handlers(context, registers):
        fault = _fault(context, handler, AccessKind.FETCH, 1)
        if fault is not None:
            why = message("the handler at {handler} cannot be executed", handler=Hex(handler))
            yield _deadly(context, why, fault)
            return
    proof = Message("the IDT is mapped: whether its handlers still work under the new tables, nobody said")
    yield RULE.finding(_title(cpu.rflags), proof, severity=Severity.WARNING)


def of_chain(chain: Chain) -> Finding:
    """Return the finding on an interrupt that was carried through the model, and comes to ``chain``."""
    title = Message("interrupts are on across the switch, and the next one is fatal")
    if chain.ends is not None:
        title = message("{fatal}; it ends as {ends}", fatal=title, ends=chain.ends)
    refused = next((raised.fault for raised in chain.faults if raised.fault is not None), None)
    entry = next(iter(refused.guilty), None) if refused else None
    events = (
        message(f"{{event_{number}}}", **{f"event_{number}": Event(said)}) for number, said in enumerate(chain.words, 1)
    )
    return replace(RULE.finding(title, *events), entry=entry)


def of_interrupt(vector: int, fault: Fault, refused: PageFault) -> Finding:
    """Return the finding of an interrupt that came and found no gate: the live tables do not map it."""
    entry = next(iter(refused.guilty), None)
    virt, cr3 = Hex(refused.virt), Hex(fault.cr3 or 0)
    title = message(
        "interrupt {vector:02x}h came under the new tables, which do not map its gate at {virt}",
        vector=vector, virt=virt,
    )  # fmt: skip
    proof = message("the live tables under CR3={cr3} refuse {virt}", cr3=cr3, virt=virt)
    if entry is not None:
        proof = message("{refused}: {why}", refused=proof, why=refusal(refused.reason, entry))
    if fault.rip is not None:
        proof = message("at RIP={rip}, with interrupts on; {refused}", rip=Hex(fault.rip), refused=proof)
    return replace(RULE.finding(title, proof), entry=entry, range=(refused.virt, refused.virt))


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is None or failed.why is not Why.IDT_UNMAPPED or failed.touched is None or failed.record.kind is not Kind.INTERRUPT:
        return
    record = failed.record
    title = message(
        "interrupt {interrupt:02x}h came while its gate at {virt} cannot be read", interrupt=Hex(record.vector), virt=Hex(failed.touched)
    )
    yield RULE.finding(title, undelivered(record), *([message("CR3={cr3}", cr3=Hex(record.cr3))] if record.cr3 is not None else []))


def _title(rflags: int) -> Message:
    return message("RFLAGS={rflags} at the handoff: interrupts are on across the switch", rflags=Hex(rflags))


def _unmapped_idt(idt: Span, fault: PageFault) -> Message:
    if fault.cr2 is None:
        return message("the IDT at {idt} is not mapped in the new tables", idt=idt)
    return message(
        "the IDT at {idt} is not mapped in the new tables; CR2 is the gate's address, {first_gate} or above",
        idt=idt, first_gate=Hex(idt.first),
    )  # fmt: skip


def _deadly(context: Context, why: Message, fault: PageFault) -> Finding:
    entry: EntryRef | None = next(iter(fault.guilty), None)
    rflags = context.cpu.rflags if context.cpu else 0
    finding = RULE.finding(_title(rflags), message("the next interrupt is fatal: {why}", why=why))
    source = context.attribution.source(entry, fault.virt)
    return replace(finding, step=0, entry=entry, range=(fault.virt, fault.virt), source=source)


def _fault(context: Context, virt: int, kind: AccessKind, width: int) -> PageFault | None:
    from cr3scope.paging.walk import PageFault, access  # a log alone has no tables to walk

    implicit = kind is AccessKind.READ
    found = access(
        context.tables, context.cpu, virt, kind,
        width=width, implicit=implicit, platform=context.platform,
    )  # fmt: skip
    return found if isinstance(found, PageFault) else None


def _handlers(context: Context, registers: Registers) -> list[int]:
    """Where the recorded gates of external interrupts lead."""
    memory = context.boot.memories.get(("idt", "handoff"))
    if memory is None or memory.virt != registers.idt_base:
        return []
    data = memory.data[: registers.idt_limit + 1]
    starts = range(GATE_BYTES * FIRST_INTERRUPT, len(data) - GATE_BYTES + 1, GATE_BYTES)
    gates = [Gate.decode(data[start : start + GATE_BYTES]) for start in starts]
    return list(dict.fromkeys(gate.offset for gate in gates if gate.present))


RULE = Rule(
    id="missing-cli",
    title="interrupts are on across the switch",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "The firmware's timer ticks until somebody stops it. With IF=1 the CPU takes the next "
        "interrupt through the IDT under whatever tables are loaded; if they do not map the IDT, "
        "reading the gate faults, and so does the delivery of that fault. ExitBootServices "
        "promises no cli."
    ),
    shows=(
        "`Servicing hardware INT=0x..`, then v=0e e=0000 with CR2=IDT.base+16*vector, v=08, reset; "
        "at a random instruction, not on every run."
    ),
    fix="Execute cli before mov cr3; let the kernel set IF once its own IDT is loaded.",
    manual="Intel SDM volume 3A, 7.8.1 and 7.14.1",
    check=_check,
    needs=SWITCH,
    logged=_logged,
)
