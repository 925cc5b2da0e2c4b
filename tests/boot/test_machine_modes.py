"""The model against a machine: in every mode of paging, what it foresees of an access under one flipped bit is what comes.

The guest needs no firmware and takes all cases in one boot (tests/boot/modes/): error code, CR2, the value read, where a
write went; reads, writes and fetches, of a user and of a supervisor, from 32-bit and 64-bit code, WP, SMEP, SMAP and AC
on and off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from boot.modes.cases import Case, cases, unchanged
from boot.modes.guest import Answer, Cpu, ask
from boot.modes.memory import Image
from boot.modes.spaces import Space, spaces
from boot.reference import takes_all

from cr3scope.x86.platform import Platform

SAMPLE, ALL = 50, 400  # of each mode
SEED = 18
MACHINE = ("-machine", "pc,max-ram-below-4g=64M")
OLD_CPUS = {"pentium3": 36, "qemu32": 32}  # MAXPHYADDR


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
    cpu = Cpu(OLD_CPUS[name], False, False, False, False, False)
    made = foreseen(image, chosen, cpu, Platform.TCG, count())
    told, answers = ask(tmp_path, image, [case.record for case in made], options, has_efer=False)
    assert told == cpu
    assert differing(made, answers) == []


def test_kvm_does_what_is_foreseen_in_every_mode(tmp_path: Path) -> None:
    """PDPTEs are loaded and checked with CR3, and error codes come with P, on a CPU of silicon alone."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/kvm that may be used")
    image, options = Image(), ("-accel", "kvm", *MACHINE, "-cpu", "host,-arch-capabilities")
    everything = list(spaces(image))
    try:
        cpu, _ = ask(tmp_path, image, [], options)
    except AssertionError as error:
        pytest.skip(f"KVM does not run a guest from its reset: {error}")
    chosen = [space for space in everything if cpu.has_la57 or space.name != "5-level"]
    plain = [unchanged(image, space, cpu, Platform.HARDWARE) for space in chosen]
    for case in plain:
        _, answers = ask(tmp_path, image, [case.record], options)
        if not answers or case.differs(answers[0]):
            pytest.skip(f"this KVM does not page as a CPU does: {case.said}: {answers[:1]}")
    made = foreseen(image, chosen, cpu, Platform.HARDWARE, count())
    _, answers = ask(tmp_path, image, [case.record for case in made], options)
    assert differing(made, answers) == []
