"""The code of other CPUs is not what was put there."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    startup = context.boot.startup
    if startup is None or startup.differs is None:
        return
    yield RULE.finding(
        message("the code that other CPUs start with differs at {virt} from what was put there", virt=Hex(startup.differs)),
        message("it begins at {code}; compared right before the switch", code=Hex(startup.code)),
    )


RULE = Rule(
    id="ap-code-overwritten",
    title="the code of the other CPUs was overwritten",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "Memory below 1 MiB is used by many: firmware, its interrupt vectors and its data, option ROMs, a second "
        "trampoline. What was not allocated, or was copied too early, holds other bytes by the time a CPU runs "
        "through it."
    ),
    shows=(
        "The boot CPU is well; the other runs through other bytes, zeros for instance (`add [bx+si], al`), and "
        "never comes or resets the machine."
    ),
    fix=(
        "Allocate the page from the firmware (AllocateMaxAddress below A0000h) and keep it allocated; copy the "
        "code last."
    ),
    manual="Intel SDM volume 3A, 10.4.4; UEFI 2.10, 7.2",
    check=_check,
    needs=TRACE,
)
