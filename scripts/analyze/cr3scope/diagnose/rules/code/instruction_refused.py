"""An instruction that could be fetched and that the CPU does not carry out."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="instruction-refused",
    title="the CPU refuses the instruction itself",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The tables let the fetch through, and what lies there cannot be executed: no instruction, one "
        "that this CPU does not have, one whose state (SSE, AVX) nobody turned on, or one with an "
        "operand that it refuses. A kernel enters with the firmware's CR4; a loader that writes its own "
        "loses OSFXSR. A call through a wrong pointer, or with the wrong ABI, ends in such bytes too."
    ),
    shows="v=06 (#UD), v=07 (#NM) or v=0d e=0000 (#GP) at the instruction; CR2 means nothing.",
    fix=(
        "Of bytes that are no code, look at the return address: who jumped there? Of an instruction, "
        "correct the operand, or turn on what it needs."
    ),
    manual="Intel SDM volume 3A, 7.15 (interrupts 6, 7 and 13), 2.5; volume 2, each instruction",
)
