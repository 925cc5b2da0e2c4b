"""The model against a machine: what it foresees of random sequences of instructions is what comes, in every mode of paging.

The guest is that of tests/boot/modes/, which takes them all in one boot: by which exception each ends, with what error code,
CR2, RIP and RSP, or that it came to its end, and with which RSP. Reads, writes and both, pushes, calls, string instructions, loads
of segments, far jumps and returns, what is refused whatever the tables say; WP on and off. In ring 3: what only the kernel
may touch, and what only the kernel may execute; INT
through gates of either ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from boot.modes import kvm
from boot.modes.guest import Cpu, ask
from boot.modes.memory import Image
from boot.modes.sequences import KERNEL, USER, Case, sequences
from boot.modes.spaces import spaces
from boot.platform_here import qemu_here
from boot.reference import make, takes_all

from cr3scope.x86.platform import Platform

SAMPLE, ALL = 25, 200  # of each mode; of each ring too, where all are taken
SEED = 18
MACHINE = ("-machine", "pc,max-ram-below-4g=64M")


def count() -> int:
    return ALL if takes_all() else SAMPLE


def differing(folder: Path, image: Image, made: Sequence[Case], code: bytes, options: Sequence[str]) -> list[str]:
    _, answers = ask(folder, image, [case.record for case in made], options, code=code)
    assert len(answers) == len(made), f"the guest died of {made[len(answers)].text}, of which was foreseen {made[len(answers)].seen.fault}"
    return [words for case, answer in zip(made, answers) if (words := case.differs(answer))]


@pytest.mark.parametrize("rings", [(KERNEL,), (USER,)] if takes_all() else [(KERNEL, USER)])
def test_tcg_does_what_is_foreseen_of_sequences_in_every_mode(rings: Sequence[int], tmp_path: Path) -> None:
    image = Image()
    chosen = list(spaces(image))
    cpu = Cpu(40, True, True, True, True, True)  # of -cpu max
    made, code = sequences(tmp_path, image, make("modes/guest.elf"), chosen, cpu, qemu_here(), count(), SEED, rings)
    assert [sum(case.space == space.name for case in made) for space in chosen] == [count()] * len(chosen)
    assert differing(tmp_path, image, made, code, ("-accel", "tcg", *MACHINE, "-cpu", "max")) == []
    assert {13, 14, None} <= {case.seen.fault.vector if case.seen.fault else None for case in made}


def test_kvm_does_what_is_foreseen_of_sequences_in_every_mode(tmp_path: Path) -> None:
    image = Image()
    cpu, chosen = kvm.machine(tmp_path, image)
    made, code = sequences(tmp_path, image, make("modes/guest.elf"), chosen, cpu, Platform.HARDWARE, count(), SEED)
    assert differing(tmp_path, image, made, code, kvm.OPTIONS) == []
