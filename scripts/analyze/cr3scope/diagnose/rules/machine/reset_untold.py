"""A reset of which nothing tells who caused it."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="reset-untold",
    title="the guest reset, and nothing tells why",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "A triple fault resets the machine, and so does a write to the keyboard controller, port CF9h or ACPI. Under KVM and its like QEMU "
        "logs no exception and tells both alike; the paused CPU stands behind no such write, and its next instruction is none that must fail."
    ),
    shows="Nothing: QEMU logs exceptions under TCG alone.",
    fix="Run it under TCG (without -accel kvm): its log tells a triple fault from a reset that was asked for.",
    manual="QEMU, event SHUTDOWN, reason guest-reset; Intel SDM volume 3A, 7.15",
)
