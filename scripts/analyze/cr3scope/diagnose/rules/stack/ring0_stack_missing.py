"""Something came in user mode, and the TSS gives no stack to take it on."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.ring0_stack import is_of_ring0_stack
from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.happened import Happened
from cr3scope.message import Hex, Message, message
from cr3scope.x86.exceptions import FRAME_REACH
from cr3scope.x86.mode import PROTECTED

_WIDTHS = (1 << 64, 1 << 32)  # below address 0 of either mode


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    if failed is None or not is_of_ring0_stack(failed):
        return
    yield RULE.finding(_title(failed), undelivered(failed.record), *_proof(failed))


def _title(failed: Happened) -> Message:
    cpu, touched = failed.record.cpu, failed.touched
    if cpu.cpl and cpu.task == 0 and failed.why is not Why.STACK_UNMAPPED:
        return message("no TSS is loaded: nothing tells the stack for what comes in ring {ring}", ring=cpu.cpl)
    if failed.why is Why.NO_TSS or touched is None:
        return Message("the TSS gives no stack: SS0 in it is bad, it is too short, or it was never loaded")
    if any(0 < width - touched <= FRAME_REACH for width in _WIDTHS):
        return Message("the stack for ring 0 in the TSS is 0: nobody has filled it in")
    return message("the stack for ring 0, at {virt}, which the TSS names, cannot be written", virt=Hex(touched))


def _proof(failed: Happened) -> Iterator[Message]:
    cpu, touched = failed.record.cpu, failed.touched
    if touched is not None:
        yield message("the CPU reached for {reached}", reached=Hex(touched))
    if cpu.task == 0:
        yield Message("the TSS' base is 0, as before any ltr")
    elif cpu.task is not None:
        yield message("the TSS lies at {task}", task=Hex(cpu.task))


RULE = Rule(
    id="ring0-stack-missing",
    title="there is no stack for ring 0",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "An interrupt or exception in user mode is taken on the stack that the TSS names (RSP0 or ESP0; of a gate with an IST, "
        "that one), since the user's own cannot be trusted. Without ltr, with a field that nobody filled in, or with a stack "
        "that the tables do not map, there is nowhere to push the frame."
    ),
    shows=(
        "A record with cpl=3, then #TS, or v=08 with CR2 at the stack's top (at ffffffff or ffffff..f8 where it is 0) and `Triple "
        "fault`; TR = base 0 in the dump where no TSS was loaded."
    ),
    fix="Fill in RSP0 (ESP0 and SS0 in 32-bit mode) of a TSS, map that stack in every address space, and ltr, before ring 3 is entered.",
    manual="Intel SDM volume 3A, 7.14.2, 7.14.5, 9.2.1 and 9.7",
    logged=_logged,
)
