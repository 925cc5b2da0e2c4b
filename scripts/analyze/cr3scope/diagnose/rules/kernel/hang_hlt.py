"""hlt with nothing that could end it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.last_seen import last_seen
from cr3scope.message import Message
from cr3scope.x86.ending import Ending
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    """With a trace: the plan survives, and the machine was found so."""
    seen, prediction = context.observation, context.prediction
    if seen is None or seen.ending is not Ending.HANG or seen.standing is None:
        return
    if not seen.standing.halted or seen.standing.interrupts_on:
        return
    if prediction is None or not prediction.survives or prediction.diverges is not None:
        return
    if not context.boot.complete:
        yield RULE.finding(
            Message("the switch survives, and the kernel halts with interrupts off: nothing can wake it"),
            *last_seen(seen),
        )


RULE = Rule(
    id="hang-hlt",
    title="halted with interrupts off",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "hlt ends with an interrupt. With RFLAGS.IF=0 only an NMI or an SMI is left, and "
        "neither comes. Kernels stop so on purpose after a panic; else the cli before it is "
        "the mistake."
    ),
    shows="Nothing at all: no exception, the log just ends.",
    fix=(
        "If this is the kernel's own way to stop, look at what it said before; else set IF "
        "before the hlt."
    ),
    manual="Intel SDM volume 2A, HLT; volume 3A, 7.8.1",
    check=_check,
)
