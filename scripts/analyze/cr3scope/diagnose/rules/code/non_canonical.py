"""Addresses that no table can translate."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Reason


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NON_CANONICAL:
        return None
    levels = context.cpu.levels if context.cpu else 4
    sign = 12 + 9 * levels - 1
    return Claim(
        message("{virt} is not canonical: bits 63:{sign_bit} differ", virt=Hex(strike.virt), sign_bit=sign)
    )


RULE = Rule(
    id="non-canonical",
    title="an address is not canonical",
    severity=Severity.ERROR,
    reason=(
        "Bits 63:47 of an address (63:56 with 5-level paging) must be equal. An address whose sign "
        "extension was lost, by a cast through 32 or 48 bits, is refused before any table is read."
    ),
    shows="v=0d e=0000 (v=0c through the stack); CR2 means nothing.",
    fix="Sign-extend the address: ffff800000000000 and above for the upper half with 4 levels.",
    manual="Intel SDM volume 1, 3.3.7.1",
    claim=_claim,
)
