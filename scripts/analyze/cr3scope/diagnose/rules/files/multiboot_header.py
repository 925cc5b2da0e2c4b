"""A Multiboot header that loaders do not see, or do not accept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.images.protocols.multiboot import Multiboot, Tag
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import OF_FILES

_NAMES = {1: "Multiboot", 2: "Multiboot2"}
_KNOWN_1 = 0x7  # of the flags that a loader must not ignore
_REQUIRED_1 = (1 << 16) - 1
_I386 = 0
_LAST_KIND, _OPTIONAL = 10, 1  # of tags; the flag of one that a loader may leave alone
_TAG_BYTES = 8


def _lint(linted: LintedFile) -> Iterator[Finding]:
    headers, kernel = linted.file.multiboot, linted.file.kernel
    boots_otherwise = any(one.is_seen for one in headers) or kernel is not None and kernel.limine is not None
    for header in headers:
        found = list(_unseen(header) if not header.is_seen else _contents(header))
        for finding in found:
            yield replace(finding, severity=Severity.WARNING) if boots_otherwise and not header.is_seen else finding
    if kernel is not None and kernel.bits == 64 and [one.version for one in headers] == [1] and not headers[0].names_addresses:
        yield RULE.finding(
            Message("QEMU's -kernel loads no 64-bit ELF file by Multiboot; GRUB does"), severity=Severity.NOTE
        )


def _unseen(header: Multiboot) -> Iterator[Finding]:
    name, offset = _NAMES[header.version], Hex(header.offset)
    if header.checksum != header.sum_wanted:
        yield RULE.finding(
            message("the checksum of the {name} header at offset {offset} is wrong", name=name, offset=offset),
            message("it is {checksum}, and must be {sum_wanted} for the sum to be 0",
                    checksum=Hex(header.checksum), sum_wanted=Hex(header.sum_wanted)),
        )  # fmt: skip
    elif header.offset % header.alignment:
        yield RULE.finding(
            message("the {name} header at offset {offset} is not aligned", name=name, offset=offset),
            message("loaders look at each {alignment}th byte of the file alone", alignment=header.alignment),
        )
    else:
        yield RULE.finding(
            message("the {name} header lies at offset {offset}, where no loader looks", name=name, offset=offset),
            message("it must end within the first {window} bytes of the file", window=header.window),
        )


def _contents(header: Multiboot) -> Iterator[Finding]:
    name = _NAMES[header.version]
    if header.is_cut:
        yield RULE.finding(message("the file ends within its {name} header", name=name))
    elif header.version == 1:
        yield from _version_1(header)
    else:
        yield from _version_2(header)


def _version_1(header: Multiboot) -> Iterator[Finding]:
    unknown = header.flags & _REQUIRED_1 & ~_KNOWN_1
    if unknown:
        yield RULE.finding(
            message("the Multiboot header asks for what no loader knows: flags {unknown}", unknown=Hex(unknown)),
            Message("a loader must refuse a file with a flag of 0 to 15 that it does not know"),
        )
    there = header.addresses
    if there is None:
        return
    end = there.load_end or there.load
    if not there.load <= there.header or (there.load_end and there.load_end < there.load) or (there.bss_end and there.bss_end < end):
        yield RULE.finding(
            Message("the addresses in the Multiboot header contradict each other"),
            message("header_addr={header_at}, load_addr={load}, load_end_addr={load_end}, bss_end_addr={bss_end}",
                    header_at=Hex(there.header), load=Hex(there.load), load_end=Hex(there.load_end), bss_end=Hex(there.bss_end)),
        )  # fmt: skip
    elif there.entry < there.load or (there.load_end and there.entry >= there.load_end):
        yield RULE.finding(
            message("the entry {entry} in the Multiboot header lies outside of what it loads", entry=Hex(there.entry)),
            message("load_addr={load}, load_end_addr={load_end}", load=Hex(there.load), load_end=Hex(there.load_end)),
        )


def _version_2(header: Multiboot) -> Iterator[Finding]:
    if header.architecture != _I386:
        yield RULE.finding(
            message("the Multiboot2 header is for architecture {architecture}, not for a PC (0)", architecture=header.architecture)
        )
    bad = next((tag for tag in header.tags if tag.size < _TAG_BYTES), None)
    if bad is not None:
        yield RULE.finding(message("a tag of the Multiboot2 header has no room for itself: {tag}", tag=_called(bad)))
    elif not header.tags or header.tags[-1].kind or header.tags[-1].at + _TAG_BYTES > header.length:
        last = message("the last that fits is {tag}", tag=_called(header.tags[-1])) if header.tags else Message("there is no tag")
        yield RULE.finding(
            message("the Multiboot2 header does not end with a tag of type 0 within its {length} bytes", length=header.length),
            last,
            Message("each tag begins at a multiple of 8 bytes from the header's beginning"),
        )
    for tag in header.tags:
        if tag.kind > _LAST_KIND and not tag.flags & _OPTIONAL:
            yield RULE.finding(
                message("a tag of the Multiboot2 header is of no known type: {tag}", tag=_called(tag)),
                Message("a loader must refuse the file unless bit 0 of the tag's flags says that it is optional"),
            )
            return
    if header.names_addresses and header.entry is None:
        yield RULE.finding(Message("the Multiboot2 header says where to load, but not where to enter: an entry address tag is missing"))


def _called(tag: Tag) -> Message:
    return message("type {kind}, {size} bytes, at {at} of the header", kind=tag.kind, size=tag.size, at=Hex(tag.at))


RULE = Rule(
    id="multiboot-header",
    title="the Multiboot header is not where or not what loaders look for",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "A loader looks for the header in the first 8,192 bytes of the file (Multiboot2: 32,768), at multiples of 4 (8) bytes, and "
        "believes it only if its first words add up to 0. A linker puts the section with it behind .text or a build id's note unless "
        "the script places it first, and pages of 2 MiB between segments move it far back in the file."
    ),
    shows="The loader: \"no multiboot header found\". QEMU's -kernel then takes the file for something else.",
    fix=(
        "Place the header's section first in the linker script, with KEEP, align it to 8, and link with -z max-page-size=0x1000; let "
        "the assembler compute the checksum: -(magic + flags), or -(magic + architecture + length)."
    ),
    manual="Multiboot Specification 0.6.96, 3.1; Multiboot2 Specification 2.0, 3.1",
    lint=_lint,
)
