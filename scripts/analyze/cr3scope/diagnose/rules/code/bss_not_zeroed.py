"""[filesz, memsz) of a segment holds something."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    for loaded in context.boot.loaded:
        if loaded.nonzero is None:
            continue
        yield RULE.finding(
            message(
                "BSS of segment {segment_index} of {file} is not zero, first at {virt}",
                segment_index=loaded.index,
                file=loaded.of,
                virt=Hex(loaded.nonzero),
            ),
            Message("C code relies on zero there: every static variable without an initial value"),
        )


RULE = Rule(
    id="bss-not-zeroed",
    title="BSS is not zero",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "A PT_LOAD with p_memsz above p_filesz stands for memory that the loader clears. Pages "
        "from the firmware hold what their last owner left: AllocatePages clears nothing."
    ),
    shows=(
        "No exception. Locks that are taken, lists that are not empty, flags that are set: other "
        "behaviour from run to run, and none at all where fresh memory happens to be zero."
    ),
    fix="Clear [p_vaddr + p_filesz, p_vaddr + p_memsz) of every PT_LOAD after the copy.",
    manual="ELF gABI, program header, p_memsz",
    check=_check,
)
