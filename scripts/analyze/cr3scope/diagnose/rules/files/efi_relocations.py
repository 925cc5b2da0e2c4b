"""A .efi file that cannot be moved."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.images.efi_file import EfiFile
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import OF_FILES

_LOW = 1 << 20  # below it firmware gives nobody the place that he asks for


def _lint(linted: LintedFile) -> Iterator[Finding]:
    efi = linted.file.efi
    if efi is None:
        return
    if efi.is_stripped:
        yield RULE.finding(
            message("the image says that it cannot be moved, and wants to lie at {image_base}", image_base=Hex(efi.image_base)),
            Message("IMAGE_FILE_RELOCS_STRIPPED is set: no firmware loads it at address 0") if efi.image_base < _LOW else
            Message("IMAGE_FILE_RELOCS_STRIPPED is set: it is loaded only where that memory is free"),
            severity=Severity.ERROR if efi.image_base < _LOW else Severity.WARNING,
        )  # fmt: skip
    yield from _table(efi)


def _table(efi: EfiFile) -> Iterator[Finding]:
    at, size = efi.relocations
    if not size:
        return
    section = efi.at(at)
    if section is None or at + size > efi.size:
        yield RULE.finding(message("the table of relocations at {offset} lies in no section of the image", offset=Hex(at)))
        return
    try:
        outside = next((place for place in efi.relocated() if place >= efi.size), None)
    except ValueError as error:
        yield RULE.finding(Message("the table of relocations is damaged"), message("{what}", what=str(error)))
        return
    if outside is not None:
        yield RULE.finding(message("a relocation is for {offset}, outside of the image", offset=Hex(outside)))


RULE = Rule(
    id="efi-relocations",
    title="the .efi file cannot be loaded at another address",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "Firmware loads an image where memory is free, and moves it by its table of base relocations. objcopy marks an image without "
        "a .reloc section as one that cannot be moved: it loads then at its ImageBase alone, often 0."
    ),
    shows="The firmware goes on to the next boot option, on some machines only: there the memory at ImageBase is taken.",
    fix="Keep .reloc (objcopy -j .reloc; gnu-efi's crt0 has one), do not link with -fixed, and give lld-link -dynamicbase.",
    manual="Microsoft, PE Format: Characteristics, The .reloc Section; UEFI 2.10, 2.1.1",
    lint=_lint,
)
