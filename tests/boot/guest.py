"""Boots of anyone's UEFI program for tests: `cr3scope run` on a QEMU command, without our trace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from boot import firmware
from boot.qemu_words import qemu_words
from boot.reference import ROOT, Run
from boot.verbs import cr3scope

_SCRIPTS = ROOT / "scripts/boot"
_BOOT_DEVICE = ",drive=boot,bootindex=0"
NO_WHO = "--no-who"  # who wrote what is the matter of test_who.py alone: a boot with the plugin takes longer


def watch(
    folder: Path,
    program: Path,
    seconds: int,
    words: Sequence[str] = (),
    elf: Sequence[Path] = (),
    options: Sequence[str] = (),
    who: str = NO_WHO,
    **settings: str,
) -> Run:
    """Boots ``program`` as the removable medium's \\EFI\\BOOT\\BOOTX64.EFI and judges.

    From where the firmware first reads the medium, unless ``words``, which are added to QEMU's, give the machine a
    device that works with a file of the test. ``elf``: files with symbols; ``options``: further ones of `run`; ``settings``: the variables of
    scripts/boot/qemu-command.
    """
    is_machine, is_own = "-device" in words, "-chardev" in words
    if not is_own:
        settings["QEMU"] = firmware.stand_in(settings, words if is_machine else ())
    return judge(folder, [*qemu_command(folder, program, settings), *words], seconds, elf, options, who)


def watch_kernel(folder: Path, program: Path, words: str, seconds: int, **settings: str) -> Run:
    """Hands ``program``, an EFI stub, to the firmware by -kernel, with a command line."""
    command = [word.replace(_BOOT_DEVICE, ",drive=boot") for word in qemu_command(folder, program, settings)]
    return judge(folder, [*command, "-kernel", str(program), "-append", words], seconds)


def qemu_command(folder: Path, program: Path, settings: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """QEMU with ``program`` on its boot volume, which is made in ``folder``."""
    disk = folder / "disk.img"
    environment = {**os.environ, "INITRD": "", "FIRST_STAGE": "", **settings}
    subprocess.run([_SCRIPTS / "image", disk, program, ""], env=environment, check=True)
    return qemu_words(folder, settings)


def judge(
    folder: Path, command: Sequence[str], seconds: int, elf: Sequence[Path] = (), options: Sequence[str] = (), who: str = NO_WHO
) -> Run:
    """What `cr3scope run` says of a QEMU command. ``who``: "" for a second boot where the first ends badly."""
    done = cr3scope(
        "run", "-o", folder, "--timeout", str(seconds), "--json", folder / "verdict.json",
        *([who] if who else []), *(word for file in elf for word in ("--elf", file)), *options, "--", *command,
        seconds=seconds + 60,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr, folder)
