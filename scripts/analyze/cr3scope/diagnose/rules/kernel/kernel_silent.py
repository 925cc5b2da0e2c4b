"""The switch was to survive, but nothing was heard of the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Message, message
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    if not context.is_over or boot.complete or boot.is_unpromised or boot.errors or context.observation is not None:
        return
    if context.prediction is None or not context.prediction.survives:
        return
    reached = Message("no section was closed")
    if boot.closed:
        reached = message("last closed section: {section}", section=boot.closed[-1])
    yield RULE.finding(
        Message("the plan survives in the model, but the trace ends before the kernel's summary"), reached
    )


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
    fix="Capture again with QEMU's `-d int,cpu_reset` log and pass it with --log.",
    manual="docs/trace-format.md, kinds `end` and `section`",
    check=_check,
)
