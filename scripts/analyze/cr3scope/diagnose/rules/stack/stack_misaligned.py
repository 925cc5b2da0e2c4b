"""RSP is not where a C function expects it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.input.capture.records import Boot
from cr3scope.message import Message, as_messages
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.word import QWORD

_ALIGNMENT = 16
_NEAR = 4096


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.step is None:
        return None
    if strike.reason is not Reason.MISALIGNED:
        return None
    step = strike.step
    title = f"{step.name} at {step.virt:#x} needs an address that is a multiple of {step.align}"
    return Claim(Message(title), proof=as_messages(_rsp_words(context.boot)))


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    rsp = _rsp(boot)
    if rsp is None or rsp % _ALIGNMENT == 0 or _is_proved(boot, rsp):
        return
    at_entry = rsp - QWORD * _pushes_before_entry(boot, rsp)
    if at_entry % _ALIGNMENT != QWORD:
        yield RULE.finding(
            Message(f"RSP {at_entry:#x} at the kernel's entry is not 8 beyond a multiple of 16"),
            *as_messages(f"{_rsp_words(boot)}; no step of the plan demands it, the first movaps of C code will"),
            severity=Severity.WARNING,
        )


def _rsp_words(boot: Boot) -> str:
    rsp = _rsp(boot)
    return "" if rsp is None else f"RSP at the handoff is {rsp:#x}, RSP % 16 = {rsp % _ALIGNMENT}"


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
