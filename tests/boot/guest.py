"""Boots of anyone's UEFI program for tests: `cr3scope run` on a QEMU command, without our trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from boot.reference import ROOT, Run


def watch(folder: Path, program: Path, seconds: int, *more: str, **settings: str) -> Run:
    """Boots ``program`` as the removable medium's \\EFI\\BOOT\\BOOTX64.EFI and judges.

    ``more``: options for QEMU. ``settings``: the variables of scripts/boot/qemu-command.
    """
    disk = folder / "disk.img"
    environment = {**os.environ, "INITRD": "", "FIRST_STAGE": "", **settings}
    scripts = ROOT / "scripts/boot"
    subprocess.run([scripts / "image", disk, program, ""], env=environment, check=True)
    command = subprocess.run(
        [scripts / "qemu-command", folder, disk],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    done = subprocess.run(
        [ROOT / "scripts/cr3scope", "run", "-o", folder, "--timeout", str(seconds),
         "--json", folder / "verdict.json", "--", *command, *more],
        capture_output=True, text=True, errors="replace", timeout=seconds + 60,
    )
    return Run(done.returncode, done.stdout, done.stderr, folder)
