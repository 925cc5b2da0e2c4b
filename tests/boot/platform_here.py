"""The QEMU of this machine, as the model knows it."""

from __future__ import annotations

import re
import subprocess

from cr3scope.x86.platform import Platform


def qemu_here() -> Platform:
    """Return the platform of the QEMU that the tests boot."""
    told = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"version (\d+)\.(\d+)", told.stdout)
    assert version, told.stdout
    return Platform((int(version[1]), int(version[2])))


def pae_is_narrow(here: Platform) -> bool:
    """Whether MAXPHYADDR is 32 on a CPU with PAE that has neither PSE-36 nor CPUID's leaf 80000008h: 36 by SDM 3A, 5.1.4.

    The model asks QEMU for it (the property `phys-bits`), so that this is none of its differences.
    """
    return here.qemu is not None and here.qemu < (8, 2)
