"""How bad a hole in the safety net is: the IDT, the GDT and the handlers that catch an exception."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Context


def severity_of(context: Context, role: str) -> Severity:
    """Return how bad it is.

    An error where a fault is coming that would need the net, or where the trace asked for it.

    A warning where the table is the loader's own. Else a note: with interrupts off, a loader may
    leave the firmware's tables behind until the kernel brings its own.
    """
    if context.prediction is not None and not context.prediction.survives:
        return Severity.ERROR
    named = [*context.intent.maps, *context.intent.regions]
    base = _base(context, role)
    if any(n.role == role and (base is None or base in n) for n in named):
        return Severity.ERROR
    own = base is not None and any(base in image for image in context.intent.images)
    return Severity.WARNING if own else Severity.NOTE


def _base(context: Context, role: str) -> int | None:
    return context.registers.gdt_base if role == "gdt" else context.registers.idt_base
