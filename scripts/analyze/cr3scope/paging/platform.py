"""Whose page walk is modelled: the manuals' or an emulator's."""

from __future__ import annotations

from enum import Enum


class Platform(Enum):
    """Where the two differ, a fault is predicted for the one on which the boot runs.

    ``HARDWARE`` does what the manuals say. ``TCG`` is QEMU's software CPU: RSVD comes without P in
    its error codes, a stack address that is not canonical raises #GP and not #SS, and it neither
    faults on a 1 GiB leaf without CPUID support nor on G in a PML4E of an AMD CPU. What reads and
    writes in one instruction it reads first, and the last byte of the address space is followed by
    the first.
    """

    HARDWARE = "hardware"
    TCG = "tcg"
