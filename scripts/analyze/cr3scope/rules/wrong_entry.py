"""The loader jumps to what is not code."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.capture.records import AccessKind
from cr3scope.predict.intent import Intent
from cr3scope.predict.strike import Strike, Target
from cr3scope.rules.rule import Claim, Context, Rule
from cr3scope.verdict import Finding, Severity


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.kind is not AccessKind.FETCH:
        return None
    if not context.intent.segments or context.intent.is_code(strike.virt):
        return None
    entries = ", ".join(f"{elf.entry:#x}" for elf in context.boot.elfs)
    return Claim(
        f"the jump goes to {strike.virt:#x}, which is outside every executable segment",
        detail=f"e_entry of the kernel is {entries}" if entries else "",
    )


def _check(context: Context) -> Iterator[Finding]:
    if not context.intent.segments:
        return
    for elf in context.boot.elfs:
        if not _is_file_code(context.intent, elf.entry):
            yield RULE.finding(
                f"the entry point {elf.entry:#x} of {elf.name} is outside every executable segment",
                "no PT_LOAD with PF_X has file bytes there",
            )
    for (name, _), memory in context.boot.memories.items():
        if name == "entry" and memory.data and not any(memory.data):
            yield RULE.finding(
                f"the bytes at the entry point {memory.virt:#x} are all zero",
                "00 00 is `add [rax], al`: the CPU slides through it until something faults",
            )


def _is_file_code(intent: Intent, virt: int) -> bool:
    return any(
        s.virt <= virt < s.virt + s.filesz and "x" in s.flags for s in intent.boot.segments
    )


RULE = Rule(
    id="wrong-entry",
    title="the entry point is wrong",
    severity=Severity.ERROR,
    reason=(
        "e_entry is 0 or the linker's default when ENTRY() names a symbol that does not exist, and "
        "points to zero bytes when the object with the entry was not linked or not loaded."
    ),
    shows=(
        "v=0e e=0010 with RIP=CR2=e_entry; over zero bytes, e=0010 at a page-aligned CR2 far behind "
        "e_entry; after a jump to 0, often #UD at a00000h or below."
    ),
    fix="Check ENTRY() against the symbol table, and that the bytes at e_entry equal the file's.",
    manual="ELF gABI, ELF header, e_entry",
    claim=_claim,
    check=_check,
)
