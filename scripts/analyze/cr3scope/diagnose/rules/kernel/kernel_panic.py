"""A kernel that stopped on purpose."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="kernel-panic",
    title="the kernel panicked",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The kernel lives, runs in its own tables, and found that it cannot go on. The switch is behind "
        "it: page tables are to blame only if its message says so."
    ),
    shows="No triple fault; exceptions in the log, if any, were the kernel's own and were handled.",
    fix="Do what the message asks for; it stands on the kernel's console.",
    manual="Linux, Documentation/admin-guide/kernel-parameters.txt: panic=, root=, console=",
)
