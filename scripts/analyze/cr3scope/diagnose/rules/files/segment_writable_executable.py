"""A segment that may be written and executed."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import called
from cr3scope.images.elf_twin import PF_W, PF_X
from cr3scope.message import Some, message
from cr3scope.x86.mode import OF_FILES


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        if kernel.has_loader_of_its_own:
            continue  # which acts on nobody's rights
        both = tuple(called(one) for one in kernel.loads if one.memsz and one.flags & (PF_W | PF_X) == PF_W | PF_X)
        if both:
            yield RULE.finding(message("writable and executable at once: {segments}", segments=Some(both, MOST_NAMED)))


RULE = Rule(
    id="segment-writable-executable",
    title="a segment of the file is writable and executable",
    severity=Severity.WARNING,
    modes=OF_FILES,
    reason=(
        "A loader that maps each segment with its rights maps this one so that a stray write changes code, and code can be "
        "executed that was data. GNU ld puts text and data into one segment where a script names no PHDRS and no page alignment "
        "between them, or with -N."
    ),
    shows="Nothing: what should fault does not.",
    fix="Begin text, read-only data and data on pages of their own (`. = ALIGN(4096)`), each with its own PT_LOAD (PHDRS).",
    manual="ELF gABI, program header (p_flags); Intel SDM volume 3A, 5.6.1",
    lint=_lint,
)
