"""64-bit code that runs as 32-bit code: long mode is on, and nobody has jumped to a 64-bit segment."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import LONG

RULE = Rule(
    id="compatibility-mode",
    title="64-bit code runs in compatibility mode",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "The mov to CR0 that sets PG activates long mode, but the code segment stays what it was: until a far jump, a far "
        "return or iret loads a CS whose descriptor has L=1 and D=0, instructions are decoded as 32-bit ones. REX prefixes "
        "become dec and inc, and what was relative to RIP is an absolute address."
    ),
    shows="v=0e or v=06 in code that looks right, with CS32 in the dump and EFER.LMA (400h) set.",
    fix="Behind the mov to CR0 jump far (ljmp, lretq, iretq) through a code selector whose descriptor has L=1 and D=0, as 00af9a000000ffffh.",
    manual="Intel SDM volume 3A, 11.8.5.3 (initialization of IA-32e mode), 3.4.5 (L and D), 5.1.2",
)
