"""PE headers as linkers write them, and as an attacker would."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cr3scope import limits
from cr3scope.images.pe_header import pdb_name, read_header


def image(
    machine: int = 0x8664, magic: int = 0x20B, size: int = 0x5000, sections: int = 1, pe_at: int = 0x80
) -> bytes:
    """One executable section `.text` at 1000h, and a debug directory at 3000h."""
    data = bytearray(0x1000)
    data[:2] = b"MZ"
    struct.pack_into("<I", data, 0x3C, pe_at)
    data[pe_at : pe_at + 4] = b"PE\0\0"
    struct.pack_into("<HHIIIHH", data, pe_at + 4, machine, sections, 0, 0, 0, 240, 0x2022)
    optional = pe_at + 24
    struct.pack_into("<H", data, optional, magic)
    struct.pack_into("<I", data, optional + 16, 0x1010)
    struct.pack_into("<I", data, optional + 56, size)
    struct.pack_into("<I", data, optional + 108, 16)
    struct.pack_into("<II", data, optional + 112 + 8 * 6, 0x3000, 28)
    struct.pack_into("<8sIIIIIIHHI", data, optional + 240, b".text", 0x800, 0x1000, 0x1000, 0x400,
                     0, 0, 0, 0, 0x60000020)  # fmt: skip
    return bytes(data)


def test_size_entry_and_sections_are_read() -> None:
    header = read_header(image())
    assert header is not None
    assert (header.size, header.entry, header.debug) == (0x5000, 0x1010, (0x3000, 28))
    (text,) = header.sections
    assert (text.name, text.offset, text.size, text.executable) == (".text", 0x1000, 0x800, True)


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", image()[:0x90], image(machine=0x14C), image(magic=0x10B), image(size=0),
     image(size=limits.PE_IMAGE_BYTES + 1), b"\x7fELF" + bytes(0x1000)],
)  # fmt: skip
def test_what_is_no_x86_64_image_is_none(data: bytes) -> None:
    assert read_header(data) is None


def test_sections_beyond_the_given_bytes_are_left_out() -> None:
    header = read_header(image(sections=65535))
    assert header is not None and len(header.sections) < 100


@given(st.binary(max_size=0x200), st.integers(0, 0x1FF))
def test_any_damage_gives_a_header_or_none(noise: bytes, at: int) -> None:
    data = bytearray(image())
    data[at : at + len(noise)] = noise
    header = read_header(bytes(data))
    assert header is None or 0 < header.size <= limits.PE_IMAGE_BYTES


def test_the_record_of_the_pdb_is_found_and_must_lie_in_the_image() -> None:
    header = read_header(image())
    assert header is not None
    entry = struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, 40, 0x3100, 0)
    assert header.code_view(entry) == (0x3100, 40)
    assert header.code_view(struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, 40, 0x5000, 0)) is None
    assert header.code_view(entry[:20]) is None


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (b"RSDS" + bytes(20) + b"c:\\build\\Loader.pdb\0", "Loader.pdb"),
        (b"NB10" + bytes(12) + b"/edk2/Build/X64/Shell.dll\0more", "Shell.dll"),
        (b"RSDS" + bytes(20) + b"\0", None),
        (b"RSDS", None),
        (b"MTOC" + bytes(20) + b"x\0", None),
    ],
)
def test_the_pdb_is_named_without_its_folders(record: bytes, name: str | None) -> None:
    assert pdb_name(record) == name
