"""The code that loads CR3 is not in the tables that it loads."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.message import Message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED
from cr3scope.x86.mov_cr3 import CR0_SWITCH


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NOT_PRESENT or strike.kind is not AccessKind.FETCH:
        return None
    if strike.target not in (Target.PLAN, Target.RANGE) or not _runs_across(context, strike.virt):
        return None
    named = context.intent.at(strike.virt)
    if named is not None and named.name.endswith(CR0_SWITCH):
        return Claim(Message("the code that executes mov cr0, which turns paging on, is not mapped where it runs"))
    return Claim(Message("the code that executes mov cr3 is not mapped where it runs"))


def _runs_across(context: Context, virt: int) -> bool:
    """The loader's own code: what it named so, or the image or page that holds the handoff."""
    if context.intent.role_at(virt) == "trampoline":
        return True
    if any(image.base <= virt < image.base + image.size for image in context.boot.images):
        return True
    if not context.is_told:
        return False
    return virt >> 12 == context.registers.rip >> 12


RULE = Rule(
    id="identity-missing-trampoline",
    title="the code that does mov cr3 is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "mov cr3 takes effect at once, and so does the mov to CR0 that turns paging on: the next instruction is fetched "
        "through the new tables, at the address at which the loader runs. UEFI loads an image where it likes, often above the range "
        "that a loader maps in the belief that it covers everything."
    ),
    shows="v=0e e=0010 (e=0000 without NXE) with RIP=CR2=the instruction after the mov, then a triple fault.",
    fix="Map the handoff code (both pages, if it straddles two) at its own address, executable.",
    manual="Intel SDM volume 3A, 5.10.4.1 and 11.8.5.3; UEFI 2.10, 2.3.4",
    claim=_claim,
    needs=SWITCH,
)
