"""Timer interrupts in a log: why they are not the cause."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="interrupt-red-herring",
    title="timer interrupts in the log are not the cause",
    severity=Severity.NOTE,
    modes=ALL_MODES,
    reason=(
        "While the firmware runs, its timer ticks, and QEMU's log records each tick as an "
        "exception record with a vector above 1Fh: dozens before ExitBootServices, in every boot "
        "that is well. A log that ends in them says that nothing worse came after. An interrupt is "
        "the cause only if the very next record is a fault with CR2 = IDT base + 16 * its vector: "
        "see missing-cli. This is never reported as a finding."
    ),
    shows=(
        "`Servicing hardware INT=0x..` and v=20 or another vector above 1f, CR3 still the "
        "firmware's."
    ),
    fix="Look at the first exception record after the last change of CR3; there may be none.",
    manual="Intel SDM volume 3A, 7.2 (vectors 32 to 255 are external interrupts)",
)
