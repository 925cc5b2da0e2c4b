"""Code of a .efi file that refers to where no section lies."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.facts.reached_code import reached
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.images.efi_file import EfiFile
from cr3scope.message import Fact, Hex, Message, message
from cr3scope.x86.decode.instruction import can_decode, text
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import OF_FILES

_MOST_PROOF = 3
_COMPUTES = ("lea", "nop", "prefetch")


def _lint(linted: LintedFile) -> Iterator[Finding]:
    efi = linted.file.efi
    if efi is None or efi.bits != 64 or linted.file.linux is not None or not can_decode():
        return  # Linux unpacks itself
    lost = [(at, words, place) for at, words, place in _references(efi) if not _is_held(efi, place)]
    if lost:
        places = {place for _, _, place in lost}
        yield RULE.finding(
            message("code that is reached from the entry refers to {places} places of the image where no section lies",
                    places=len(places)) if len(places) > 1 else
            message("code that is reached from the entry refers to {place}, where no section of the image lies", place=Hex(lost[0][2])),
            *(_called(number, words, at) for number, (at, words, _) in enumerate(lost[:_MOST_PROOF], 1)),
            Message("addresses count from where the image is loaded"),
        )  # fmt: skip


def _references(efi: EfiFile) -> Iterator[tuple[int, str, int]]:
    """The offset of each instruction that names a place by its distance from RIP, its words, and the place.

    Of an address that is only computed a compiler folds in what is added to it: outside of the image it means nothing.
    """
    from capstone import x86

    for one in reached(efi):
        for operand in one.operands:
            if operand.type == x86.X86_OP_MEM and operand.mem.base == x86.X86_REG_RIP and not operand.mem.index:
                place = one.address + one.size + operand.mem.disp
                if 0 <= place < efi.size or not one.mnemonic.startswith(_COMPUTES):
                    yield one.address, text(one), place


def _called(number: int, words: str, at: int) -> Message:
    """An instruction; ``number`` tells its facts from those of others."""
    instruction, place = numbered("instruction", number), numbered("at", number)
    facts: dict[str, Fact] = {instruction: words, place: Hex(at)}
    return message(f"{{{instruction}}} at {{{place}}}", **facts)


def _is_held(efi: EfiFile, place: int) -> bool:
    """Whether something is loaded there; ends of sections, up to the next page, count, and the headers."""
    if 0 <= place < max(efi.headers, PAGE_BYTES) or place == efi.size:
        return True
    return any(one.offset <= place <= -(-(one.offset + one.size) // PAGE_BYTES) * PAGE_BYTES for one in efi.sections)


RULE = Rule(
    id="efi-section-lost",
    title="a section that the code refers to is not in the .efi file",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "objcopy with a list of -j copies these sections alone. One that the list lacks (.rodata.*, .data.rel.ro, .got, .bss with lld) "
        "leaves a hole in the image, or an image that ends too early: the code reads zeros there, or whatever lies behind."
    ),
    shows="Strings that are empty, calls through a pointer of 0, v=0e or v=0d soon after the start.",
    fix="Convert without -j (and --strip-all instead), or link a PE file at once (lld-link, clang -target x86_64-unknown-windows).",
    manual="Microsoft, PE Format: Section Table; UEFI 2.10, 2.1.1",
    lint=_lint,
)
