"""A kernel whose code uses SSE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import line_of, placed
from cr3scope.images.kernel_file import KernelFile
from cr3scope.message import Message, Some, message
from cr3scope.x86.mode import OF_FILES


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        used = linted.uses
        if not used.vectors:
            continue
        proof = list(_harm(kernel, linted))
        if not proof:
            continue
        first = used.vectors[0]
        names = Some(tuple(placed(kernel, one.function) for one in used.vectors), MOST_NAMED)
        found = RULE.finding(
            message("code of the kernel uses vector registers: {functions}", functions=names),
            message("first {instruction} in {place}", instruction=first.instruction, place=placed(kernel, first.at)),
            *proof,
        )
        yield replace(found, source=line_of(kernel, first.at))


def _harm(kernel: KernelFile, linted: LintedFile) -> Iterator[Message]:
    """What is wrong with that in this file; nothing where it may be well."""
    used = linted.uses
    if kernel.multiboot and not used.sets_cr4:
        yield Message("no instruction of the file writes CR4: with OSFXSR=0, as a BIOS leaves it, each of them is a #UD")
    if used.returns_from_interrupts and not used.saves_vectors and any(one.changes for one in used.vectors):
        yield Message("it returns from interrupts (iretq), and nothing saves those registers (no fxsave, no xsave): a handler that "
                      "uses them changes them under what it interrupted")  # fmt: skip


RULE = Rule(
    id="vector-registers",
    title="the kernel's code uses SSE, and does not provide for it",
    severity=Severity.WARNING,
    modes=OF_FILES,
    reason=(
        "For x86-64 compilers use SSE everywhere: to copy structures, to clear arrays. At CPL 0 that needs CR4.OSFXSR (and OSXSAVE with "
        "XCR0 for AVX), else it is a #UD; and an interrupt handler that was compiled the same way overwrites XMM registers of the code "
        "that it interrupts, unless it saves them."
    ),
    shows="v=06 at a movups or movaps; or, only with interrupts on, values that change from one line to the next.",
    fix="Compile everything that runs at CPL 0 with -mgeneral-regs-only (gcc, clang), of Rust with a soft-float target.",
    manual="Intel SDM volume 3A, 14.1.1 to 14.1.3 (CR4.OSFXSR), 14.5",
    lint=_lint,
)
