"""A frame buffer that the kernel cannot write."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    if context.intent.role_at(strike.virt) != "framebuffer" or strike.target is Target.HANDLER:
        return None
    if strike.reason is Reason.NOT_PRESENT:
        return Claim(message("the frame buffer is not mapped at {virt}", virt=Hex(strike.virt)))
    entry = strike.culprit
    if strike.reason is Reason.READ_ONLY and entry and entry.is_leaf:
        return Claim(message("the frame buffer is mapped read-only at {virt}", virt=Hex(strike.virt)))
    return None


RULE = Rule(
    id="framebuffer-unmapped",
    title="the frame buffer is not mapped writable",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "The frame buffer is a device's memory, often above 4 GiB and outside the firmware's memory map. "
        "Its size is pitch times height, not width times height."
    ),
    shows="v=0e e=0002 with CR2 inside the frame buffer, at the first pixel or at the end of a page.",
    fix="Map FrameBufferBase to FrameBufferBase + FrameBufferSize, writable, write-combining.",
    manual="UEFI 2.10, 12.9 (EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE); Intel SDM volume 3A, 5.7",
    claim=_claim,
)
