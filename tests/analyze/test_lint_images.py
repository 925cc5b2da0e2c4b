"""What a .efi file shows before the firmware loads it: each mistake, and the same file without it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from analyze.lint_files import CODE, DATA, RELOC, TEXT, Image, Section, linux, written

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.lint import lint
from cr3scope.render.finding import proof, title

GOOD = Image()
E_, W_, N_ = Severity.ERROR, Severity.WARNING, Severity.NOTE


def code(*parts: str) -> Sequence[Section]:
    return (replace(TEXT, data=bytes.fromhex("".join(parts))), DATA, RELOC)


def relocations(table: bytes) -> Image:
    return GOOD.with_(sections=(TEXT, DATA, replace(RELOC, data=table)), relocations=(0x3000, len(table)))


MISTAKES: Sequence[tuple[str, Severity, str, Image]] = [
    ("efi-image", E_, "subsystem is 3", GOOD.with_(subsystem=3)),
    ("efi-image", E_, "claims 90 sections", GOOD.with_(declared=90, sections=(TEXT, DATA, RELOC))),
    ("efi-image", E_, "has no sections", GOOD.with_(sections=(), relocations=(0, 0))),
    ("efi-image", E_, "SectionAlignment is no power of two", GOOD.with_(section_alignment=0x3000)),
    ("efi-image", W_, "is less than FileAlignment", GOOD.with_(file_alignment=0x2000)),
    ("efi-image", E_, ".data lies outside of the image", GOOD.with_(sections=(TEXT, RELOC, replace(DATA, offset=0x8000)))),
    ("efi-image", E_, "overlap in memory", GOOD.with_(sections=(TEXT, replace(DATA, size=0x1800), RELOC))),
    ("efi-entry", E_, "lies in no section", GOOD.with_(entry=0x800)),
    ("efi-entry", E_, "holds no code", GOOD.with_(sections=code("00" * 32))),
    ("efi-entry", E_, "which may not be executed", GOOD.with_(entry=0x2000)),
    ("efi-relocations", E_, "cannot be moved, and wants to lie at 0x0", GOOD.with_(characteristics=0x22F)),
    ("efi-relocations", W_, "cannot be moved, and wants to lie at 0x400000", GOOD.with_(characteristics=0x22F, image_base=0x40_0000)),
    ("efi-relocations", E_, "lies in no section", GOOD.with_(relocations=(0x9000, 12))),
    ("efi-relocations", E_, "is damaged", relocations(struct.pack("<IIHH", 0x2000, 4, 0xA000, 0))),
    ("efi-relocations", E_, "outside of the image", relocations(struct.pack("<IIHH", 0x9000, 12, 0xA000, 0))),
    ("efi-strict-nx", W_, "says NX_COMPAT, but", GOOD.with_(sections=(replace(TEXT, flags=0xE000_0020), DATA, RELOC))),
    ("efi-strict-nx", W_, "says NX_COMPAT, but", GOOD.with_(section_alignment=0x200)),
    ("efi-strict-nx", N_, "does not say NX_COMPAT", GOOD.with_(dll=0)),
    # lea rdi, [rip + 0x20f9]; ret: the code names 3100h, where .rodata was. Then call [4100h], behind the image.
    ("efi-section-lost", E_, "refers to 0x3100", GOOD.with_(sections=(code("488d3df9200000c3")[0], DATA), size=0x5000, relocations=(0, 0))),
    ("efi-section-lost", E_, "refers to 0x4100", GOOD.with_(sections=code("eb00", "ff15f8300000", "c3"), size=0x3800)),
]  # fmt: skip
HEALTHY: dict[str, bytes] = {
    "an image": GOOD.bytes(),
    "one without relocations, that may be moved": GOOD.with_(sections=(TEXT, DATA), relocations=(0, 0)).bytes(),
    "code that names its data, its header, and its end":
        GOOD.with_(sections=code("488d3df90f0000", "488d3df2efffff", "488d35eb2f0000", "c3")).bytes(),
    "an address that a compiler has folded": GOOD.with_(sections=code("488d3df9ff0100c3")).bytes(),
    "a hole that nobody reaches": GOOD.with_(sections=(*code("c3", "ff15fa8f0000")[:2], RELOC)).bytes(),
    "of 32 bits": b"",
}  # fmt: skip


def of_32_bits() -> bytes:
    """PE32: its fields behind the entry lie elsewhere, the directories 16 bytes before those of PE32+."""
    data = bytearray(GOOD.with_(machine=0x14C, magic=0x10B).bytes())
    optional = 0x40 + 24
    struct.pack_into("<I", data, optional + 28, 0)
    data[optional + 92 : optional + 236] = data[optional + 108 : optional + 252]
    struct.pack_into("<I", data, optional + 92, 16)
    return bytes(data)


HEALTHY["of 32 bits"] = of_32_bits()


def found(path: Path, data: bytes) -> tuple[Finding, ...]:
    return lint(written(path, data)).findings


@pytest.mark.parametrize(("rule", "severity", "words", "image"), MISTAKES, ids=[f"{row[0]}-{row[2]}" for row in MISTAKES])
def test_a_mistake_is_told_and_nothing_else(rule: str, severity: Severity, words: str, image: Image, tmp_path: Path) -> None:
    told = found(tmp_path / "a.efi", image.bytes())
    assert [(one.rule, one.severity) for one in told] == [(rule, severity)], [title(one) for one in told]
    assert words in title(told[0])


@pytest.mark.parametrize("data", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_image_has_no_finding(data: bytes, tmp_path: Path) -> None:
    told = found(tmp_path / "a.efi", data)
    assert told == (), [title(one) for one in told]


def test_an_image_that_is_cut_is_told(tmp_path: Path) -> None:
    assert ["it is cut" in title(one) for one in found(tmp_path / "a.efi", GOOD.bytes()[:-0x200])] == [True]


def test_an_image_as_long_as_a_kernel_with_all_that_it_needs_is_not_cut(tmp_path: Path) -> None:
    """An initial RAM disk in a section of a unified kernel image: sparse here."""
    size = 300 << 20
    data = bytearray(GOOD.with_(sections=(TEXT, RELOC, replace(DATA, offset=0x4000, size=size)), size=0x4000 + size).bytes())
    at = data.index(b".data") + 16
    struct.pack_into("<I", data, at, size)
    path = written(tmp_path / "uki.efi", bytes(data))
    with path.open("r+b") as file:
        file.truncate(struct.unpack_from("<I", data, at + 4)[0] + size)
    assert lint(path).findings == ()


def test_an_entry_that_is_data_only_strict_firmware_refuses_without_nx_compat(tmp_path: Path) -> None:
    told = found(tmp_path / "a.efi", GOOD.with_(entry=0x2000, dll=0).bytes())
    assert [(one.rule, one.severity) for one in told] == [("efi-entry", W_), ("efi-strict-nx", N_)]


def test_what_strict_firmware_misses_stands_below_the_note(tmp_path: Path) -> None:
    (one,) = found(tmp_path / "a.efi", GOOD.with_(dll=0, section_alignment=0x20, file_alignment=0x20).bytes())
    assert proof(one) == ("its sections are aligned to 0x20, not to pages",)


def test_linux_is_an_image_too(tmp_path: Path) -> None:
    """The image's header lies before that of Linux, its sections behind."""
    header = GOOD.with_(sections=(TEXT, DATA)).bytes()[: 0x40 + 24 + 240 + 80]
    data = bytearray(linux(rest=200))
    data[: len(header)] = header
    for at in (0x40 + 24 + 240 + 20, 0x40 + 24 + 240 + 60):
        struct.pack_into("<I", data, at, 0x800)
    data[0x800 : 0x800 + len(CODE)] = CODE
    kernel = lint(written(tmp_path / "vmlinuz", bytes(data)))
    assert kernel.forms == ("PE32+", "UEFI", "Linux")
    assert [one.rule for one in kernel.findings] == ["efi-relocations"], [title(one) for one in kernel.findings]
