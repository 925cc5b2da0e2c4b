"""A reset that the guest wanted."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="asked-for-reset",
    title="the guest asked for a reset",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The machine was reset through a device (keyboard controller, port CF9h, ACPI), not by a "
        "triple fault and not by a watchdog: code ran and chose to."
    ),
    shows="No `Triple fault` line, and no exception before the reset.",
    fix=(
        "Look at what the guest printed last: a panic with a reboot behind it, or an error "
        "path of the loader."
    ),
    manual="QEMU, event SHUTDOWN, reason guest-reset",
)
