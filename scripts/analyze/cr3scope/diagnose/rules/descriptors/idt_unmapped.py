"""No exception can be delivered, because the IDT itself cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.safety_net import severity_of
from cr3scope.input.logs.delivery import Why, gate_at, gate_bytes
from cr3scope.input.logs.event import Kind, RegisterDump
from cr3scope.message import Hex, Message, Span, message
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.exceptions import DOUBLE_FAULT
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    registers = context.registers
    idt = Span(registers.idt_base, registers.idt_base + registers.idt_limit)
    if strike.target is Target.IDT:
        severity = severity_of(context, "idt")
        return Claim(message("the IDT at {idt} is not mapped", idt=idt), severity, proof=(_meaning(severity),))
    if strike.target is Target.RANGE and context.intent.role_at(strike.virt) == "idt":
        return Claim(message("the IDT at {idt} is not mapped as the trace asked", idt=idt))
    return None


def _meaning(severity: Severity) -> Message:
    if severity is Severity.NOTE:
        return Message("until the kernel loads its own IDT, any exception is a triple fault, without a word")
    return Message("the first exception becomes a triple fault: nothing can report it")


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is not None and failed.why is Why.IDT_UNMAPPED and failed.touched is not None:
        if failed.record.kind is not Kind.INTERRUPT:  # that is missing-cli
            yield _unreadable(failed.record.cpu, failed.touched, undelivered(failed.record))
    elif death.is_silent and death.dump.has_paging is not False and death.dump.is_protected is not False:
        idt, size, cr2 = death.dump.idt, gate_bytes(death.dump), death.dump.cr2
        if idt is not None and size is not None and cr2 == idt[0] + DOUBLE_FAULT * size and gate_at(death.dump, cr2) is not None:
            yield _unreadable(death.dump, cr2, Message("a triple fault, and CR2 is the gate of the double fault"))


def _unreadable(cpu: RegisterDump, virt: int, proof: Message) -> Finding:
    title = message("the IDT is not readable: gate {gate} at {virt}", gate=gate_at(cpu, virt), virt=Hex(virt))
    under = [] if cpu.cr3 is None else [message("CR3={cr3}", cr3=Hex(cpu.cr3))]
    return RULE.finding(title, proof, *under)


RULE = Rule(
    id="idt-unmapped",
    title="the IDT is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "IDTR keeps its linear address across mov cr3. If the new tables do not map it, reading the "
        "gate faults, and so does reading the gate of the double fault: the CPU resets."
    ),
    shows=(
        "After the cause: v=08 at the same RIP, and a dying CR2 of IDT.base + 16 * vector (+80h for "
        "the double fault). Nothing at all until something faults."
    ),
    fix="Map the IDT, the handlers and their stacks, or load an IDT that lives in the new tables.",
    manual="Intel SDM volume 3A, 7.10, 7.14.1, 7.15 (interrupt 8)",
    claim=_claim,
    logged=_logged,
)
