"""A serial port that is not there."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="serial-absent",
    title="the serial port that is waited for does not exist",
    severity=Severity.WARNING,
    modes=ALL_MODES,
    reason=(
        "Where no device answers, a port reads FFh, on some chipsets 00h. A loop that waits for "
        "`transmitter empty` (bit 5 of the line status) ends at once with FFh, and nothing is ever "
        "sent; with 00h it never ends. A capture that arrives over that port cannot prove it."
    ),
    shows=(
        "Either silence from a boot that is well, or a hang in a loop of in and test at 3FDh. "
        "Common on laptops and on virtual machines without -serial."
    ),
    fix=(
        "Write a pattern to the scratch register (base + 7) and read it back before the port is "
        "used, bound every wait, and have a second channel: a frame buffer, QEMU's port E9h."
    ),
    manual="PC16550D data sheet: line status register, scratchpad register",
)
