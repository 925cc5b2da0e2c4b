"""Entries with bits set that must be zero."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Reason
from cr3scope.x86.mode import PROTECTED


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry = strike.culprit
    if strike.reason is not Reason.RESERVED or entry is None:
        return None
    reserved = entry.value & entry.form.reserved_mask(entry.value, context.cpu, context.platform)
    return Claim(message("{entry} has reserved bits set: {reserved}", entry=entry, reserved=Hex(reserved)))


RULE = Rule(
    id="reserved-bits",
    title="reserved bits are set",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "In a present entry, address bits from MAXPHYADDR on, bit 7 of a PML5 or PML4 entry, the low "
        "address bits of a large page, and NX while EFER.NXE is clear must be zero; in a PDPTE of PAE paging R/W and U/S too. "
        "A frame that is not aligned to its page's size is the usual cause."
    ),
    shows="v=0e with bit 3 of the error code: 0009 or 0019 on hardware, 0008 or 0018 on QEMU TCG.",
    fix="Align large frames, mask addresses to MAXPHYADDR, and set EFER.NXE before NX is used.",
    manual="Intel SDM volume 3A, 5.5 (tables 5-15 ff.) and 5.7; AMD APM volume 2, 5.3",
    claim=_claim,
)
