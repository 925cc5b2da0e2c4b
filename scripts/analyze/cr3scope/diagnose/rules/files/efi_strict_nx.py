"""A .efi file on firmware that gives each section just its rights."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.images.efi_file import EfiFile
from cr3scope.message import Hex, Message, Some, message
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import OF_FILES


def _lint(linted: LintedFile) -> Iterator[Finding]:
    efi = linted.file.efi
    if efi is None or not efi.sections or efi.declared > len(efi.sections):
        return
    missing = list(_missing(efi))
    if efi.is_nx_compatible and missing:
        yield RULE.finding(Message("the image says NX_COMPAT, but strict firmware cannot give its sections their rights"), *missing)
    elif not efi.is_nx_compatible:
        yield RULE.finding(
            Message("the image does not say NX_COMPAT: firmware that demands it refuses the image, all other loads it"), *missing,
            severity=Severity.NOTE,
        )  # fmt: skip


def _missing(efi: EfiFile) -> Iterator[Message]:
    if efi.section_alignment % PAGE_BYTES:
        yield message("its sections are aligned to {alignment}, not to pages", alignment=Hex(efi.section_alignment))
    both = tuple(one.name for one in efi.sections if one.writable and one.executable)
    if both:
        yield message("writable and executable at once: {sections}", sections=Some(both, MOST_NAMED))
    strays = tuple(one.name for one in efi.sections if one.offset % PAGE_BYTES)
    if strays and not efi.section_alignment % PAGE_BYTES:
        yield message("not at the beginning of a page: {sections}", sections=Some(strays, MOST_NAMED))


RULE = Rule(
    id="efi-strict-nx",
    title="the .efi file is not made for firmware that enforces rights",
    severity=Severity.WARNING,
    modes=OF_FILES,
    reason=(
        "Strict firmware maps text read-only and everything else without execution. It can do so only if sections begin on pages and "
        "none is both writable and executable, and does so only to images that say IMAGE_DLLCHARACTERISTICS_NX_COMPAT; some refuse "
        "all others."
    ),
    shows="v=0e e=0011 or e=0003 in the image before any mov cr3, on such firmware only.",
    fix=(
        "Align sections to 4096 bytes, give each its own rights, and set NX_COMPAT (lld-link -nxcompat; GNU ld for PE --nxcompat)."
    ),
    manual="Microsoft, PE Format: DLL Characteristics; UEFI 2.10, EFI_MEMORY_ATTRIBUTE_PROTOCOL; Intel SDM volume 3A, 5.6",
    lint=_lint,
)
