"""A part of the kernel that is not in the new tables."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, Span, message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NOT_PRESENT or strike.target is Target.HANDLER:
        return None
    segment = next((s for s in context.intent.segments if strike.virt in s), None)
    if segment is None:
        is_code = not context.is_told and strike.kind is AccessKind.FETCH
        return Claim(message("the code at {virt} is not mapped", virt=Hex(strike.virt))) if is_code else None
    span = Span(segment.virt, segment.last, segment.label)
    return Claim(message("{segment} is not fully mapped", segment=span))


RULE = Rule(
    id="code-unmapped",
    title="a kernel segment is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Every page of every PT_LOAD segment must be mapped at its p_vaddr. A size taken from p_filesz "
        "instead of p_memsz, a count of pages rounded down, or a segment that does not begin on a page "
        "leaves the last page out."
    ),
    shows="v=0e e=0010 (fetch) or e=0000 and e=0002 (data) with CR2 inside the kernel.",
    fix="Map from p_vaddr rounded down to p_vaddr + p_memsz rounded up, for each PT_LOAD.",
    manual="Intel SDM volume 3A, 5.7; ELF gABI, program loading",
    claim=_claim,
)
