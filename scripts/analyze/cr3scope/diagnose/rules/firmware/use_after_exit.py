"""The firmware's boot services are used although they are gone."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Message, as_messages

_MOST_SERVICES = 6


def _check(context: Context) -> Iterator[Finding]:
    late = [call.what for call in context.boot.calls if call.after_exit]
    if not late:
        return
    names = list(dict.fromkeys(late))
    shown = ", ".join(names[:_MOST_SERVICES])
    more = f" and {len(names) - _MOST_SERVICES} more" if len(names) > _MOST_SERVICES else ""
    count = "one call" if len(late) == 1 else f"{len(late)} calls"
    yield RULE.finding(
        Message(f"{shown}{more} is called after ExitBootServices"),
        *as_messages(f"{count} into the firmware after ExitBootServices returned success"),
    )


RULE = Rule(
    id="use-after-exit",
    title="the firmware is called after ExitBootServices",
    severity=Severity.ERROR,
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
