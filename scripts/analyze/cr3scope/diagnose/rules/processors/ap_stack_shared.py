"""Two CPUs on one stack."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.diagnose.shared.numbered_stacks import numbered_stacks
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import LONG
from cr3scope.x86.word import MASK64


def _check(context: Context) -> Iterator[Finding]:
    stacks, told = numbered_stacks(context.intent), 0
    written = [step.virt for step in context.boot.plan if step.kind is AccessKind.WRITE]  # by the boot CPU
    users = {number: 0 for number, named in stacks.items() if any(virt in named for virt in written)}
    for ap in sorted(context.boot.aps, key=lambda one: one.cpu):
        last = ap.stack - 1 & MASK64
        number = next((number for number, named in stacks.items() if last in named), None)
        if number is None:
            continue
        other = users.get(number)
        users.setdefault(number, ap.cpu)
        if other is None or other == ap.cpu or told == MOST_NAMED:
            continue
        told += 1
        yield RULE.finding(
            message("CPU {cpu} is given a stack that CPU {other} has: {virt} lies in {name}", cpu=ap.cpu, other=other,
                    virt=Hex(last), name=stacks[number].name),
            message("both push to it at the same time"),
        )  # fmt: skip


RULE = Rule(
    id="ap-stack-shared",
    title="two CPUs share a stack",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "Each CPU pushes return addresses and locals by its own RSP. Two of them in one range overwrite each "
        "other's as soon as both run."
    ),
    shows=(
        "Returns to addresses that nobody pushed, on either CPU, at random: #GP, #UD, or a fault at a strange "
        "RIP."
    ),
    fix=(
        "Give each CPU a stack of its own, with a guard page below it; a start-up code that several CPUs run at "
        "once must take its stack by an atomic ticket or by the APIC id."
    ),
    manual="Intel SDM volume 3A, 10.4.4 (each AP sets up its own stack)",
    check=_check,
    needs=TRACE,
)
