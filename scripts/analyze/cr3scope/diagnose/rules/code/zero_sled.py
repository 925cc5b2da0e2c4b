"""A jump into memory that holds nothing but zeros."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="zero-sled",
    title="the CPU ran through zeros",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "Two zero bytes are an instruction (add [rax], al). A kernel that was never copied, "
        "or copied elsewhere, is such a sled: the CPU runs through it as long as RAX points "
        "to memory that can be written, and faults far from the mistake."
    ),
    shows=(
        "A fetch fault at the start of a page, or a fault on RAX, with zeros at RIP or before "
        "it. While RAX is good: nothing."
    ),
    fix=(
        "Look at where the jump went, not at where it ended: compare the address of the copy "
        "with the entry."
    ),
    manual="Intel SDM volume 2A, ADD (opcode 00 /r)",
)
