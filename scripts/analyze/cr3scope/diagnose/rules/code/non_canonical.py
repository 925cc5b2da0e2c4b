"""Addresses that no table can translate."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.misled import misled
from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.paging.canonical import LEVELS, is_canonical, levels_of
from cr3scope.paging.reason import Reason
from cr3scope.x86.mode import LONG


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NON_CANONICAL:
        return None
    return Claim(_title(strike.virt, context.cpu.levels if context.cpu else LEVELS))


def _title(virt: int, levels: int) -> Message:
    sign = 12 + 9 * levels - 1
    return message("{virt} is not canonical: bits 63:{sign_bit} differ", virt=Hex(virt), sign_bit=sign)


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    """RIP of an emulator, which jumps before it faults, and RSP where a push was refused for its address."""
    record = death.origin
    if record is None or not record.cpu.in_long_mode:
        return
    if _is_wrong(record, record.rip) and misled(record) is None:
        yield RULE.finding(_title(record.rip or 0, levels_of(record.cpu.cr4)), Message("it is RIP: the CPU was sent there"))
        return
    failed = death.failed
    if failed is not None and failed.why is Why.STACK_BAD and _is_wrong(failed.record, failed.record.rsp):
        title = _title(failed.record.rsp or 0, levels_of(failed.record.cpu.cr4))
        yield RULE.finding(title, Message("it is RSP: nothing can be pushed there"), undelivered(failed.record))


def _is_wrong(record: InterruptRecord, virt: int | None) -> bool:
    return virt is not None and not is_canonical(virt, levels_of(record.cpu.cr4))


RULE = Rule(
    id="non-canonical",
    title="an address is not canonical",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "Bits 63:47 of an address (63:56 with 5-level paging) must be equal. An address whose sign "
        "extension was lost, by a cast through 32 or 48 bits, is refused before any table is read."
    ),
    shows="v=0d e=0000 (v=0c through the stack); CR2 means nothing.",
    fix="Sign-extend the address: ffff800000000000 and above for the upper half with 4 levels.",
    manual="Intel SDM volume 1, 3.3.7.1",
    claim=_claim,
    logged=_logged,
)
