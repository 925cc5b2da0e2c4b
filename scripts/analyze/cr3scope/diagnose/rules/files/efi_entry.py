"""The entry of a .efi file is no code of it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import LOOKED_AT_BYTES
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import OF_FILES



def _lint(linted: LintedFile) -> Iterator[Finding]:
    efi = linted.file.efi
    if efi is None or not efi.sections:
        return
    section, entry = efi.at(efi.entry), Hex(efi.entry)
    code = efi.bytes_at(efi.entry, LOOKED_AT_BYTES)
    if section is None:
        yield RULE.finding(message("the entry {entry_point} of the image lies in no section", entry_point=entry))
    elif not code or not any(code):
        yield RULE.finding(
            message("the file holds no code at the entry {entry_point} of the image: zeros", entry_point=entry),
            message("it lies in section {section}", section=section.name),
        )
    elif not section.executable:
        yield RULE.finding(
            message("the entry {entry_point} of the image lies in {section}, which may not be executed",
                    entry_point=entry, section=section.name),
            Message("firmware that gives each section its rights faults at the first instruction"),
            severity=Severity.ERROR if efi.is_nx_compatible else Severity.WARNING,
        )  # fmt: skip


RULE = Rule(
    id="efi-entry",
    title="the entry of the .efi file is no code",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "AddressOfEntryPoint counts from where the image is loaded. It is 0 or the beginning of another section if the linker did not "
        "find the entry's symbol (efi_main, _start), or if objcopy left out the section that holds it."
    ),
    shows="v=06 or v=0e in the image's first bytes, or in its header, right after the firmware starts it.",
    fix="Name the entry (-entry:efi_main, -e _start), and have objcopy copy every section (no list of -j).",
    manual="Microsoft, PE Format: AddressOfEntryPoint; UEFI 2.10, 4.1",
    lint=_lint,
)
