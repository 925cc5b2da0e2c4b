"""KVM as a machine for the guest of the modes of paging, where it is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boot.modes.cases import unchanged
from boot.modes.guest import Cpu, ask
from boot.modes.memory import Image
from boot.modes.spaces import Space, spaces

from cr3scope.x86.platform import Platform

OPTIONS = ("-accel", "kvm", "-machine", "pc,max-ram-below-4g=64M", "-cpu", "host,-arch-capabilities")


def machine(folder: Path, image: Image) -> tuple[Cpu, list[Space]]:
    """Return the CPU and the modes that it has, with tables in the image; skip the test where nothing pages as a CPU does."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/kvm that may be used")
    everything = list(spaces(image))
    try:
        cpu, _ = ask(folder, image, [], OPTIONS)
    except AssertionError as error:
        pytest.skip(f"KVM does not run a guest from its reset: {error}")
    chosen = [space for space in everything if cpu.has_la57 or space.name != "5-level"]
    for case in [unchanged(image, space, cpu, Platform.HARDWARE) for space in chosen]:
        _, answers = ask(folder, image, [case.record], OPTIONS)
        if not answers or case.differs(answers[0]):
            pytest.skip(f"this KVM does not page as a CPU does: {case.said}: {answers[:1]}")
    return cpu, chosen
