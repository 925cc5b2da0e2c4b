"""Which loaded image a file is the twin of, whatever a guest's list of images claims."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.loaded import Image, Loaded
from cr3scope.images.match import match


class Memory:
    """Nothing but zeros, and a count of what was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def physical(self, _phys: int, length: int) -> bytes:
        self.asked += length
        return bytes(length)


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
