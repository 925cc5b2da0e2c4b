"""No exception can be delivered, because the IDT itself cannot be read."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.safety_net import severity_of
from cr3scope.message import Message, Span, message
from cr3scope.model.strike import Strike, Target


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


RULE = Rule(
    id="idt-unmapped",
    title="the IDT is not mapped",
    severity=Severity.ERROR,
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
)
