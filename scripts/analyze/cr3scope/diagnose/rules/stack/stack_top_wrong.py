"""A stack that is mapped as it should be, and an RSP that points beside it."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.stack_roles import STACK_ROLES
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED

_PUSHES = 4096  # a push just below RSP, and the pushes that follow it


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.kind is not AccessKind.WRITE:
        return None
    planned = context.boot.cpus.get("handoff")
    rsp = planned.registers.get("rsp") if planned else None
    stacks = [named for named in context.intent.maps if named.role in STACK_ROLES]
    if rsp is None or not stacks or not rsp - _PUSHES <= strike.virt < rsp:
        return None
    # A stack is used from its end downwards: RSP may be one past its last byte, never its first.
    ends = [(stack.name, stack.virt, stack.last + 1) for stack in stacks]
    if any(first < rsp <= end for _, first, end in ends):
        return None
    distances = {abs(end - rsp): (name, end) for name, _, end in ends}
    name, end = distances[min(distances)]
    return Claim(
        message(
            "RSP {rsp} is not in a stack: {stack} is used from {top} downwards",
            rsp=Hex(rsp), stack=name, top=Hex(end),
        ),
        stands_alone=True,
    )  # fmt: skip


RULE = Rule(
    id="stack-top-wrong",
    title="RSP points beside the stack",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "The stack grows down: RSP starts one past the last byte. Given the lowest address instead, or "
        "an address a page too high, the first push goes to the guard page or to the next stack's."
    ),
    shows="v=0e e=0002 with CR2=RSP-8, then v=08; the stack itself is mapped and writable.",
    fix="Load RSP with the stack's first byte plus its size.",
    manual="Intel SDM volume 1, 6.2 (stacks grow down in memory)",
    claim=_claim,
)
