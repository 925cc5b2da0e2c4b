"""What lies at RIP is not the code of the file that was loaded there."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="code-overwritten",
    title="the code in memory is not that of the file",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "Something wrote over the image after it was loaded, or never put it there: a page allocator "
        "whose bitmap or page tables lie in what it takes for free memory, a .bss cleared too far, a "
        "second image, a copy to the physical address of another. The CPU goes on with what it finds, "
        "and faults where nothing is wrong in the source."
    ),
    shows=(
        "A fault of an instruction that the source does not have, or zeros at RIP. The tables are in "
        "order."
    ),
    fix=(
        "Look at who owns the range: reserve the image in the memory map before the first allocation, and "
        "compare the loader's destination with the program headers. In gdb, `watch` the address."
    ),
    manual="ELF gABI, program header; UEFI 2.10, 7.2 (EfiLoaderCode and EfiLoaderData)",
)
