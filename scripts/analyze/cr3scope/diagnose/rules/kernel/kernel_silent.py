"""The switch was to survive, but nothing was heard of the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.witness import Witness
from cr3scope.message import Message, message
from cr3scope.x86.mode import ALL_MODES


def is_unheard(context: Context) -> bool:
    """Return whether the plan survives and nothing tells how the machine went on."""
    boot = context.boot
    if not context.is_over or boot.complete or boot.is_unpromised or boot.errors or context.observation is not None:
        return False
    return context.prediction is not None and context.prediction.survives


def _check(context: Context) -> Iterator[Finding]:
    if not is_unheard(context) or context.witness is Witness.PHOTO:  # whose trace ends there, however the machine went on
        return
    boot = context.boot
    reached = Message("no section was closed")
    if boot.closed:
        reached = message("last closed section: {section}", section=boot.closed[-1])
    yield RULE.finding(
        Message("the plan survives in the model, but the trace ends before the kernel's summary"), reached, fix=_FIXES.get(context.witness)
    )


_KEEP = "keep the safe IDT, which tells of an exception until the kernel loads its own"
# Each asks for nothing that there cannot be.
_FIXES = {
    Witness.LOG: "The log tells of no death: the guest hangs, or goes on without a word. Stop it in gdb, and see where it stands.",
    Witness.CONSOLE: f"K{_KEEP[1:]}; let the kernel print how far it comes.",
}
RULE = Rule(
    id="kernel-silent",
    title="nothing was heard of the kernel",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The trace promises another section, and it is missing or not closed: the machine hung or "
        "restarted after the switch, or the capture was cut."
    ),
    shows="No exception at all for a hang; look whether the firmware's banner comes again.",
    fix=f"Under QEMU, pass a `-d int,cpu_reset` log with --log, or let `cr3scope run` watch it; on a real machine {_KEEP}.",
    manual="docs/trace-format.md, kinds `end` and `section`",
    check=_check,
)
