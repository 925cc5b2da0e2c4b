"""The kernel looks for its argument in a register that does not hold it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.intent import Named
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import LONG

_OTHERS = ("rcx", "rdx", "rsi", "rax")  # the Microsoft convention's first two, then what is left
_STRUCTURE_BYTES = 4096  # fields of the structure that RDI should point to


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.kind is not AccessKind.READ:
        return None
    said = _elsewhere(context)
    rdi = context.boot.cpus["handoff"].registers["rdi"] if said else 0
    if said is None or not rdi <= strike.virt < rdi + _STRUCTURE_BYTES:
        return None
    title, proof = said
    return Claim(title, proof=(proof,), stands_alone=True)


def _check(context: Context) -> Iterator[Finding]:
    said = _elsewhere(context)
    if said is not None:
        yield RULE.finding(*said)


def _elsewhere(context: Context) -> tuple[Message, Message] | None:
    """Title and proof if the boot information is in another register than RDI."""
    record = context.boot.cpus.get("handoff")
    named = [n for n in [*context.intent.maps, *context.intent.regions] if n.role == "boot-info"]
    if record is None or "rdi" not in record.registers or not named:
        return None
    rdi = record.registers["rdi"]
    if _holding(named, rdi):
        return None
    for register in _OTHERS:
        value = record.registers.get(register)
        info = _holding(named, value) if value is not None else None
        if value is not None and info is not None:
            passed = "the boot info is passed in {register}; RDI is {rdi}"
            if register == "rcx":
                passed = "the boot info is passed in {register}, as in the Microsoft convention; RDI is {rdi}"
            holds = "{register}={value} is {name}; a System V kernel reads its first argument from RDI"
            return (
                message(passed, register=register.upper(), rdi=Hex(rdi)),
                message(holds, register=register.upper(), value=Hex(value), name=info.label),
            )
    return None


def _holding(named: list[Named], virt: int) -> Named | None:
    return next((info for info in named if virt in info), None)


RULE = Rule(
    id="abi-mismatch",
    title="the boot info is in the wrong register",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "A UEFI program is compiled for the Microsoft convention: arguments in RCX, RDX, R8, R9. A "
        "kernel is compiled for System V: RDI, RSI, RDX, RCX. A call through a plain function "
        "pointer passes the first and is read as the second."
    ),
    shows="v=0e or v=0d at the kernel's first read through RDI; RCX holds the right address.",
    fix=(
        "Declare the kernel's entry with __attribute__((sysv_abi)) in the loader, or load RDI in "
        "the assembly that jumps."
    ),
    manual="System V ABI, AMD64 supplement, 3.2.3; UEFI 2.10, 2.3.4.2",
    claim=_claim,
    check=_check,
)
