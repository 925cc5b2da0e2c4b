"""The images that the firmware of a paused guest has loaded, and which of the user's files they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cr3scope.images.debug_table import debug_images
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.loaded import Image, Loaded
from cr3scope.images.match import match
from cr3scope.target.stopped_cpu import StoppedCpu


def loaded_images(cpu: StoppedCpu) -> list[Loaded]:
    """Return the images of the firmware's list; none without UEFI. QmpError if QEMU stops answering."""
    return [Loaded(cpu, image) for image in debug_images(cpu)]


def named(images: Iterable[Loaded]) -> tuple[Image, ...]:
    """Return the images, with the name of the PDB where the firmware knows none."""
    return tuple(replace(one.image, name=next(iter(one.names), None)) for one in images)


def bases_of(files: Iterable[Path], images: Iterable[Loaded]) -> dict[Path, int]:
    """Return where the ELF files lie of which an image was made. UnusableInput if one is no ELF file.

    A file that can run at one place only is no twin of an image, which the firmware may put anywhere.
    """
    known = list(images)
    twins = [twin for path in files if (twin := ElfTwin(path)).is_relocatable]
    found = {twin.path: match(twin, known) for twin in twins}
    return {path: one.image.image.base for path, one in found.items() if one is not None}
