"""The firmware resets a machine whose loader takes too long."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Message
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    if not context.restarts or boot.exit is not None or boot.complete or boot.errors:
        return
    # A fault that is foreseen or was seen explains the restart.
    if context.prediction is None or not context.prediction.survives:
        return
    if context.observation is not None and context.observation.first is not None:
        return
    yield RULE.finding(
        Message("the machine restarted, no exception is known, and ExitBootServices was not heard of"),
        Message("a watchdog of the firmware, five minutes long by default, runs until ExitBootServices"),
    )


RULE = Rule(
    id="uefi-watchdog",
    title="the firmware's watchdog may have reset the machine",
    severity=Severity.WARNING,
    modes=LONG,
    reason=(
        "The boot manager arms a watchdog of five minutes before it starts a loader. A loader that "
        "waits for a key, a debugger or a slow device, or that hangs without leaving the firmware, "
        "is reset by it. ExitBootServices disarms it. Bites wherever the firmware has a timer for "
        "it."
    ),
    shows=(
        "A reset some five minutes after the start, without any exception; the banner comes again."
    ),
    fix="Call SetWatchdogTimer(0, 0, 0, NULL) first, and leave the firmware before long work.",
    manual="UEFI 2.10, 7.5.1 (EFI_BOOT_SERVICES.SetWatchdogTimer)",
    check=_check,
)
