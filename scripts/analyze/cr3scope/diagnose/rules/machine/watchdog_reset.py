"""A watchdog of the machine, which nobody fed."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="watchdog-reset",
    title="the machine's watchdog ran out",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "A watchdog device (i6300esb, iTCO, ib700) was armed, by the firmware or by the guest, and "
        "was not fed in time: the guest hangs, or took over a machine whose watchdog it does not "
        "know of. ExitBootServices disarms the firmware's software watchdog, not a device."
    ),
    shows="A reset without any exception; QEMU's event WATCHDOG.",
    fix=(
        "See where the guest was; feed or disarm the watchdog before long work. To look at the "
        "guest in place, run QEMU with -action watchdog=pause."
    ),
    manual="QEMU, event WATCHDOG; Intel 631xESB/632xESB datasheet, watchdog timer",
)
