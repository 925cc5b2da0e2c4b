"""The machine began anew after the switch, without a word from the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.witness import Witness
from cr3scope.message import Message, message
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    if context.restarts:
        count = context.restarts
        times = Message("once") if count == 1 else message("{restarts} times", restarts=count)
        yield RULE.finding(
            message("the machine restarted after the switch, {times}", times=times),
            Message("a boot ends behind its loader's last record, and another one begins"),
            fix=_FIXES.get(context.witness),
        )


_WITHOUT_QEMU = "See the first finding; the safe IDT halts the machine at an exception, and says which, until the kernel loads its own."
_FIXES = {Witness.CONSOLE: _WITHOUT_QEMU, Witness.PHOTO: _WITHOUT_QEMU}

RULE = Rule(
    id="restarted",
    title="the machine restarted after the switch",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "A triple fault resets the machine, and without -no-reboot the firmware starts again: the "
        "capture then holds several boots, none of which reached the kernel's summary."
    ),
    shows="The firmware's banner again, and again; with cpu_reset logging, the line `Triple fault`.",
    fix="See the first finding; under QEMU, -action reboot=shutdown keeps the final state.",
    manual="Intel SDM volume 3A, 7.15 (interrupt 8)",
    check=_check,
)
