"""RSP is not where a C function expects it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.input.capture.records import Boot
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PROTECTED
from cr3scope.x86.word import QWORD

_ALIGNMENT = 16
_NEAR = 4096


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.step is None:
        return None
    if strike.reason is not Reason.MISALIGNED:
        return None
    step = strike.step
    title = message(
        "{access} at {virt} needs an address that is a multiple of {align}",
        access=strike.access, virt=Hex(step.virt), align=step.align,
    )  # fmt: skip
    rsp = _rsp(context.boot)
    return Claim(title, proof=() if rsp is None else (_at_handoff(rsp),))


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    rsp = _rsp(boot)
    if rsp is None or rsp % _ALIGNMENT == 0 or _is_proved(boot, rsp):
        return
    at_entry = rsp - QWORD * _pushes_before_entry(boot, rsp)
    if at_entry % _ALIGNMENT != QWORD:
        yield RULE.finding(
            message("RSP {rsp_at_entry} at the kernel's entry is not 8 beyond a multiple of 16",
                    rsp_at_entry=Hex(at_entry)),
            message("{handoff}; no step of the plan demands it, the first movaps of C code will",
                    handoff=_at_handoff(rsp)),
            severity=Severity.WARNING,
        )  # fmt: skip


def _at_handoff(rsp: int) -> Message:
    return message(
        "RSP at the handoff is {rsp}, RSP % 16 = {remainder}", rsp=Hex(rsp), remainder=rsp % _ALIGNMENT
    )


def _rsp(boot: Boot) -> int | None:
    record = boot.cpus.get("handoff")
    return record.registers.get("rsp") if record else None


def _is_proved(boot: Boot, rsp: int) -> bool:
    """An access that demands alignment, near RSP, is aligned: this kernel wants its RSP so."""
    return any(
        step.align >= _ALIGNMENT and abs(step.virt - rsp) <= _NEAR and step.virt % step.align == 0
        for step in boot.plan
    )


def _pushes_before_entry(boot: Boot, rsp: int) -> int:
    """A call, or a push of a return address, before the first fetch of an ELF entry."""
    entries = [elf.entry for elf in boot.elfs]
    count = 0
    for step in sorted(boot.plan, key=lambda step: step.step):
        if step.kind is AccessKind.FETCH and step.virt in entries:
            break
        count += step.kind is AccessKind.WRITE and step.virt == rsp - QWORD * (count + 1)
    return count


RULE = Rule(
    id="stack-misaligned",
    title="the stack is not aligned for a C entry",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "At the first instruction of a C function RSP + 8 is a multiple of 16: the caller aligned "
        "the stack, the call pushed 8 bytes. Compilers rely on it for movaps, which raises #GP(0) "
        "for any other address. A jump where a call was meant, or one push too many, breaks it."
    ),
    shows="v=0d e=0000 at a movaps (0F 29) through RSP or RBP, often far behind the entry; no CR2.",
    fix="Enter with RSP at a multiple of 16 minus 8: align, then call, or push one word and jump.",
    manual="System V ABI, AMD64 supplement, 3.2.2; Intel SDM volume 2B, MOVAPS",
    claim=_claim,
    check=_check,
)
