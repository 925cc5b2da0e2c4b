"""The 128 bytes below RSP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import line_of, placed
from cr3scope.message import Message, Some, message
from cr3scope.x86.mode import OF_FILES


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        used = linted.uses.red_zone
        if used:
            first = used[0]
            names = Some(tuple(placed(kernel, one.function) for one in used), MOST_NAMED)
            found = RULE.finding(
                message("functions keep variables below RSP: {functions}", functions=names),
                message("{instruction} in {place} reads what the function wrote there",
                        instruction=first.instruction, place=placed(kernel, first.at)),
                Message("decoded from the function's first byte on; harmless only where each interrupt has a stack of its own (IST)"),
            )  # fmt: skip
            yield replace(found, source=line_of(kernel, first.at))


RULE = Rule(
    id="red-zone",
    title="kernel code uses the red zone",
    severity=Severity.WARNING,
    modes=OF_FILES,
    reason=(
        "The System V convention lets a leaf function keep its variables in the 128 bytes below "
        "RSP. An exception or interrupt at CPL 0 pushes its frame right there, unless its gate has "
        "an IST stack, and the function goes on with the frame's words in its variables. No page "
        "table shows it, so that no capture proves it; `cr3scope lint` finds it in the kernel's file."
    ),
    shows=(
        "No exception of its own: locals that change from one line to the next, only with "
        "interrupts on, only in optimised leaf functions; later any fault at all. Bites on every "
        "CPU."
    ),
    fix=(
        "Compile everything that runs at CPL 0 with -mno-red-zone, libraries and assembly "
        "included."
    ),
    manual="System V ABI, AMD64 supplement, 3.2.2; Intel SDM volume 3A, 7.14.2",
    lint=_lint,
)
