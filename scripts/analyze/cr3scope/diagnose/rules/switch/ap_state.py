"""The other CPUs start from nothing."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.mode import LONG
from cr3scope.x86.word import FOUR_GIB


def _check(context: Context) -> Iterator[Finding]:
    if context.cpu.root < FOUR_GIB:
        return
    root = context.cpu.root
    yield RULE.finding(
        message(
            "the top table at {root} is above 4 GiB: no CPU can be started on it from 32-bit code",
            root=Hex(root),
        ),
        message(
            "an AP starts with NXE=0 and WP=0 and loads CR3 from 32-bit code, which would take {truncated_root}; "
            "this boot's own CPU is in 64-bit mode and not concerned",
            truncated_root=Hex(root & (FOUR_GIB - 1)),
        ),
    )


RULE = Rule(
    id="ap-state",
    title="an application processor cannot load this CR3",
    severity=Severity.NOTE,
    modes=LONG,
    reason=(
        "After INIT-SIPI a CPU is in real mode with EFER and CR0.WP clear. Its trampoline enables "
        "paging from 32-bit code, where mov cr3 takes 32 bits; bit 63 of an entry is reserved "
        "until EFER.NXE is set, and without CR0.WP read-only pages are written without a fault."
    ),
    shows=(
        "The boot CPU is well. The AP resets the machine with v=0e (e=0009, reserved bit, if NXE "
        "is missing; e=0010 with a truncated root), or is never heard of. Bites on every CPU."
    ),
    fix=(
        "Allocate the top table below 4 GiB (AllocateMaxAddress), or a copy of it for the "
        "trampoline; set EFER.NXE and LME together, and CR0.WP with PG."
    ),
    manual="Intel SDM volume 3A, 10.4.4, 11.8.5 (IA-32e initialization) and table 11-1",
    check=_check,
    needs=SWITCH,
)
