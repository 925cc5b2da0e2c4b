"""A PE file that UEFI's LoadImage refuses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.images.efi_file import EfiFile
from cr3scope.message import Hex, Message, Span, message
from cr3scope.x86.mode import OF_FILES

_SUBSYSTEMS = {10: "application", 11: "boot service driver", 12: "runtime driver", 13: "ROM"}


def _lint(linted: LintedFile) -> Iterator[Finding]:
    efi = linted.file.efi
    if efi is None:
        return
    if efi.subsystem not in _SUBSYSTEMS:
        yield RULE.finding(
            message("the subsystem is {subsystem}, which is none of UEFI's", subsystem=efi.subsystem),
            Message("10: application, 11: boot service driver, 12: runtime driver; LoadImage returns EFI_UNSUPPORTED for others"),
        )
    if efi.declared > len(efi.sections):
        yield RULE.finding(
            message("the header claims {declared} sections, of which {held} can be read", declared=efi.declared, held=len(efi.sections))
        )
        return
    if not efi.sections:
        yield RULE.finding(Message("the image has no sections"))
    yield from _alignment(efi)
    yield from _sections(efi)


def _alignment(efi: EfiFile) -> Iterator[Finding]:
    for name, value in (("SectionAlignment", efi.section_alignment), ("FileAlignment", efi.file_alignment)):
        if not value or value & value - 1:
            yield RULE.finding(message("{name} is no power of two: {value}", name=name, value=Hex(value)))
            return
    if efi.section_alignment < efi.file_alignment:
        yield RULE.finding(
            message("SectionAlignment {section} is less than FileAlignment {file}",
                    section=Hex(efi.section_alignment), file=Hex(efi.file_alignment)),
            severity=Severity.WARNING,
        )  # fmt: skip


def _sections(efi: EfiFile) -> Iterator[Finding]:
    for one in efi.sections:
        span = Span(one.offset, one.offset + max(one.size, 1) - 1)
        if one.bytes_in_file and one.in_file + one.bytes_in_file > len(efi.data):
            yield RULE.finding(
                message("section {section} reaches beyond the end of the file: it is cut", section=one.name),
                message("{bytes} bytes at {offset}; the file has {size}",
                        bytes=one.bytes_in_file, offset=Hex(one.in_file), size=len(efi.data)),
            )  # fmt: skip
            return
        if one.size and one.offset + one.size > efi.size:
            yield RULE.finding(
                message("section {section} lies outside of the image: {range}", section=one.name, range=span),
                message("SizeOfImage={size}", size=Hex(efi.size)),
            )
            return
    for one, other in pairwise(sorted((one for one in efi.sections if one.size), key=lambda one: one.offset)):
        if one.offset + one.size > other.offset:
            yield RULE.finding(
                message("sections {section} and {other} overlap in memory", section=one.name, other=other.name),
                message("{section} has {size} bytes at {offset}, {other} begins at {other_offset}",
                        section=one.name, size=Hex(one.size), offset=Hex(one.offset), other=other.name,
                        other_offset=Hex(other.offset)),
            )  # fmt: skip
            return


RULE = Rule(
    id="efi-image",
    title="the firmware cannot load the .efi file",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "LoadImage checks the headers: machine, subsystem, and that every section lies in the file and in the image. A file that was "
        "linked for another system, made by objcopy with the wrong target, edited, or cut while it was copied fails there."
    ),
    shows="The firmware goes on to the next boot option; in the shell: Unsupported, or Load Error.",
    fix="Convert with --target=efi-app-x86_64 (objcopy), or link with -subsystem:efi_application (lld-link); copy the file anew.",
    manual="UEFI 2.10, 2.1.1 and EFI_BOOT_SERVICES.LoadImage; Microsoft, PE Format: Optional Header, Section Table",
    lint=_lint,
)
