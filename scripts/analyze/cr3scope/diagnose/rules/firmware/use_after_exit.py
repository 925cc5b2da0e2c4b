"""The firmware's boot services are used although they are gone."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Message, Some, message
from cr3scope.x86.mode import LONG

_MOST_SERVICES = 6


def _check(context: Context) -> Iterator[Finding]:
    late = [call.what for call in context.boot.calls if call.after_exit]
    if not late:
        return
    services = Some(tuple(dict.fromkeys(late)), _MOST_SERVICES)
    count = Message("one call") if len(late) == 1 else message("{calls} calls", calls=len(late))
    yield RULE.finding(
        message("{services} is called after ExitBootServices", services=services),
        message("{count} into the firmware after ExitBootServices returned success", count=count),
    )


RULE = Rule(
    id="use-after-exit",
    title="the firmware is called after ExitBootServices",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "ExitBootServices ends every boot service and every protocol, the console among them. Its "
        "code and data are free memory from then on; the pointers in the system table still look "
        "good."
    ),
    shows=(
        "Anything: nothing at all while the memory still holds the old code, else v=06 at a low "
        "address such as 0xE0000, or v=0e through a pointer of the freed protocol."
    ),
    fix=(
        "After ExitBootServices use runtime services alone; print through a serial port or a frame "
        "buffer of your own."
    ),
    manual="UEFI 2.10, 7.4.6 (EFI_BOOT_SERVICES.ExitBootServices)",
    check=_check,
)
