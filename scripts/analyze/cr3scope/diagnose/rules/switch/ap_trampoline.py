"""A CPU that died before it left real mode."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule

RULE = Rule(
    id="ap-trampoline",
    title="a CPU died in real mode",
    severity=Severity.ERROR,
    reason=(
        "A CPU that is woken by INIT and SIPI starts in real mode, in the page below 1 MiB that the "
        "SIPI names, with nothing set up. An exception there finds no IDT that fits, and its triple "
        "fault resets the whole machine while the boot CPU is well."
    ),
    shows="`Triple fault` without any v= record: QEMU logs no exception of real mode.",
    fix=(
        "Check that the trampoline was copied to the SIPI's page, that it was assembled as 16-bit "
        "code for that address, and that its GDT pointer is taken relative to CS."
    ),
    manual="Intel SDM volume 3A, 10.4.4 (MP initialization example) and 22.1",
)
