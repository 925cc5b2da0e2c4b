"""GRUB in one file, with a menu and files of the test in its memory disk."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

UEFI = "x86_64-efi"


def grub(folder: Path, menu: str = "", modules: Sequence[str] = (), target: str = UEFI, **files: Path) -> Path:
    """Return GRUB for ``target``, made in ``folder``; without a ``menu`` it comes to its prompt.

    ``files``: by the name that they have in the memory disk's /boot.
    """
    image, told = folder / "grub", folder / "grub.cfg"
    told.write_text(menu)
    subprocess.run(
        ["grub-mkstandalone", "-O", target, f"--install-modules={' '.join(('normal', *modules))}", "--locales=", "--fonts=", "--themes=",
         "-o", image, f"boot/grub/grub.cfg={told}", *(f"boot/{name}={file}" for name, file in files.items())], check=True,
    )  # fmt: skip
    return image


def multiboot(folder: Path, kernel: Path, version: int, words: str = "", target: str = UEFI) -> Path:
    """Return GRUB that loads a kernel by this version of Multiboot, with a command line."""
    command = "multiboot2" if version == 2 else "multiboot"
    return grub(folder, f"set timeout=0\n{command} /boot/kernel {words}\nboot\n", (command, "memdisk"), target, kernel=kernel)
