"""The model against a machine: in every mode of paging, what it foresees of an access under one flipped bit is what comes.

The guest needs no firmware and takes all cases in one boot (tests/boot/modes/): error code, CR2, the value read, where a
write went; reads, writes and fetches, of a user and of a supervisor, from 32-bit and 64-bit code, WP, SMEP, SMAP and AC
on and off.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from boot.modes import kvm
from boot.modes.cases import Case, cases
from boot.modes.guest import Answer, Cpu, ask
from boot.modes.memory import Image
from boot.modes.spaces import Space, spaces
from boot.platform_here import pae_is_narrow, qemu_here
from boot.reference import takes_all

from cr3scope.x86.platform import Platform

SAMPLE, ALL = 50, 400  # of each mode
SEED = 18
MACHINE = ("-machine", "pc,max-ram-below-4g=64M")
OLD_CPUS = ("pentium3", "qemu32")  # the first has PSE-36


def foreseen(image: Image, chosen: Sequence[Space], cpu: Cpu, platform: Platform, count: int) -> list[Case]:
    return [case for space in chosen for case in islice(cases(image, space, cpu, platform, SEED), count)]


def differing(made: Sequence[Case], answers: Sequence[Answer]) -> list[str]:
    assert len(answers) == len(made), f"the guest died of {made[len(answers)].said}"
    return [words for case, answer in zip(made, answers) if (words := case.differs(answer))]


def count() -> int:
    return ALL if takes_all() else SAMPLE


@pytest.mark.quick
def test_tcg_does_what_is_foreseen_in_every_mode(tmp_path: Path) -> None:
    image, options = Image(), ("-accel", "tcg", *MACHINE, "-cpu", "max")
    chosen = list(spaces(image))
    cpu = Cpu(40, True, True, True, True, True)  # of -cpu max
    made = foreseen(image, chosen, cpu, Platform.TCG, count())
    told, answers = ask(tmp_path, image, [case.record for case in made], options)
    assert told == cpu
    assert differing(made, answers) == []
    assert {case.space for case in made} == {space.name for space in chosen} and len(chosen) == 8


@pytest.mark.parametrize("name", OLD_CPUS)
def test_tcg_does_what_is_foreseen_on_a_cpu_without_long_mode(name: str, tmp_path: Path) -> None:
    image, options = Image(), ("-accel", "tcg", *MACHINE, "-cpu", name)
    chosen = [space for space in spaces(image) if not space.efer]
    here = qemu_here()
    cpu = Cpu(32 if name == "qemu32" and pae_is_narrow(here) else 36, False, False, False, False, False)
    made = foreseen(image, chosen, cpu, here, count())
    told, answers = ask(tmp_path, image, [case.record for case in made], options, has_efer=False, is_narrow=pae_is_narrow(here))
    assert told == cpu
    assert differing(made, answers) == []


def test_kvm_does_what_is_foreseen_in_every_mode(tmp_path: Path) -> None:
    """PDPTEs are loaded and checked with CR3, and error codes come with P, on a CPU of silicon alone."""
    image = Image()
    cpu, chosen = kvm.machine(tmp_path, image)
    made = foreseen(image, chosen, cpu, Platform.HARDWARE, count())
    _, answers = ask(tmp_path, image, [case.record for case in made], kvm.OPTIONS)
    assert differing(made, answers) == []
