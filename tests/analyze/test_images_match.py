"""Which loaded image a file is the twin of, whatever a guest's list of images claims."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.loaded import Image, Loaded
from cr3scope.images.match import match, opened
from cr3scope.images.pe_header import HEADER_BYTES


class Memory:
    """Nothing but zeros, and a count of what was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def physical(self, _phys: int, length: int) -> bytes:
        self.asked += length
        return bytes(length)


def pe(sections: int, size: int) -> bytes:
    """A PE file of 1 MiB with sections of code that are all in the same place."""
    data = bytearray(1 << 20)
    data[:2], data[0x3C:0x40], data[0x80:0x84] = b"MZ", (0x80).to_bytes(4, "little"), b"PE\0\0"
    struct.pack_into("<HHIIIHH", data, 0x84, 0x8664, sections, 0, 0, 0, 240, 0x2022)
    struct.pack_into("<H", data, 0x98, 0x20B)
    struct.pack_into("<I", data, 0x98 + 56, 0x10000)
    for number in range(sections):
        struct.pack_into("<8sIIIIIIHHI", data, 0x98 + 240 + 40 * number, b".text", size, 0, size, 0, 0, 0, 0, 0, 0x60000020)
    return bytes(data)


def compiled(folder: Path, name: str, *words: str) -> ElfTwin:
    source = folder / "code.c"
    source.write_text("int work(int a) { return a + 1; }\n")
    target = folder / name
    subprocess.run(
        ["gcc", "-nostdlib", "-Wl,--build-id=none", "-Wl,-e,work", *words, "-o", target, source], check=True
    )
    return ElfTwin(target)


def loaded(memory: Any, *images: Image) -> list[Loaded]:
    return [Loaded(memory, image) for image in images]


def test_a_relocatable_file_is_found_by_the_name_of_the_image(tmp_path: Path) -> None:
    twin = compiled(tmp_path, "boot.elf", "-shared", "-fpic")
    [one] = images = loaded(Memory(), Image(0x1000, 0x2000, "BOOT.EFI"))
    found = match(twin, images)
    assert found is not None and (found.image, found.by) == (one, "name")


def test_a_kernel_is_not_the_twin_of_the_loader_that_has_its_name(tmp_path: Path) -> None:
    twin = compiled(tmp_path, "kernel.elf", "-static", "-no-pie")
    assert match(twin, loaded(Memory(), Image(0x1000, 0x2000, "KERNEL.EFI"))) is None


def test_a_list_that_claims_more_than_a_machine_holds_is_not_read_to_its_end(tmp_path: Path) -> None:
    twin = compiled(tmp_path, "boot.elf", "-shared", "-fpic")
    memory = Memory()
    images = loaded(memory, *(Image(number << 28, 200 << 20, "x.efi") for number in range(1000)))
    assert match(twin, images) is None
    assert memory.asked < 1 << 28


def test_sections_of_a_pe_file_that_overlap_do_not_fill_memory(tmp_path: Path) -> None:
    """96 sections, each all of the file."""
    path = tmp_path / "a.efi"
    path.write_bytes(pe(sections=96, size=1 << 20))
    with pytest.raises(UnusableInput, match="its code has over 64 MiB: no more is read"):
        list(opened(path).code())


def test_segments_of_an_elf_file_that_overlap_do_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "k.elf"
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1000, 0, 0, 0)
    path.write_bytes(head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 1 << 20, 1 << 20, 1) * 1000 + bytes(1 << 20))
    with pytest.raises(UnusableInput, match="its segments have over 256 MiB: no more are read"):
        for _ in opened(path).code():
            pass


def test_a_section_in_memory_that_claims_4_gib_is_read_to_its_budget() -> None:
    head = pe(sections=1, size=0xFFFFFFFF)

    class Guest(Memory):
        def physical(self, phys: int, length: int) -> bytes:
            self.asked = max(self.asked, length)
            return head[phys : phys + min(length, len(head))]

    guest = Guest()
    (image,) = loaded(guest, Image(0, 0x10000))
    assert not list(image.switches()) and HEADER_BYTES < guest.asked <= limits.PE_SECTION_BYTES
