"""No segment register can be loaded, because the GDT cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.ring0_stack import is_of_ring0_stack
from cr3scope.diagnose.shared.safety_net import severity_of
from cr3scope.input.logs.delivery import Why
from cr3scope.message import Hex, Span, message
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    registers = context.registers
    gdt = Span(registers.gdt_base, registers.gdt_base + registers.gdt_limit)
    if strike.target is Target.GDT:
        return Claim(message("the GDT at {gdt} is not mapped", gdt=gdt), severity_of(context, "gdt"))
    asked = strike.target in (Target.RANGE, Target.PLAN)
    if asked and context.intent.role_at(strike.virt) in ("gdt", "tss"):
        return Claim(message("the GDT at {gdt} or its TSS is not mapped as the trace asked", gdt=gdt))
    return None


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is None or failed.touched is None or is_of_ring0_stack(failed):
        return
    cpu, virt = failed.record.cpu, Hex(failed.touched)
    if failed.why is Why.GDT_UNMAPPED and cpu.gdt is not None:
        selector = Hex((failed.touched - cpu.gdt[0]) & ~(DESCRIPTOR_BYTES - 1))
        title = message("the GDT is not readable: the descriptor of {selector:02x}h at {virt}", selector=selector, virt=virt)
        yield RULE.finding(title, undelivered(failed.record))
    elif failed.why is Why.TSS_UNMAPPED:
        yield RULE.finding(message("the TSS is not readable at {virt}", virt=virt), undelivered(failed.record))


RULE = Rule(
    id="gdt-unmapped",
    title="the GDT is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Segment registers keep their hidden parts across mov cr3, so a lost GDT stays unseen until a "
        "selector is loaded: by a far jump, by iretq, or by the gate of the first exception."
    ),
    shows="v=0e with CR2=GDT.base + (selector & ~7), during something that is no memory access.",
    fix="Map the GDT (and the TSS), or load a GDT that lives in the new tables before the switch.",
    manual="Intel SDM volume 3A, 3.4.3, 3.5.1, 7.14",
    claim=_claim,
    logged=_logged,
)
