"""What emulators wrote, damaged: nothing raises but a refusal, and nothing that was not said before the damage is claimed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from analyze.log_texts import triage
from analyze.test_logs_bochs import DOUBLE, FAULT, GATES, LONG, death, debugged
from analyze.test_logs_kvm import DUMP, NEW, OLD, VMCB, VMCS, XEN, dmesg
from analyze.test_logs_qemu_dumps import FATAL, REAL, SCREEN
from analyze.test_logs_virtualbox import GURU, LONG as STATE, SHORT, stamped

from cr3scope.errors import UnusableInput
from cr3scope.verdict.types import Status

TEXTS = {
    "Bochs": death("check_cs(0x0018): not a valid code segment !", *GATES),
    "Bochs, long mode": death(*["interrupt(long mode): gate.p == 0"] * 2, registers=LONG),
    "Bochs, debugging": debugged(*FAULT, "exception(0x0b): error_code=0073", *DOUBLE),
    "VirtualBox": stamped(f"{GURU}\n{STATE}"),
    "VirtualBox, 32-bit": stamped(f"{GURU}\n{SHORT}"),
    "KVM": OLD.format(0xBFEFC) + DUMP,
    "KVM, newer": NEW + DUMP,
    "VMCS": dmesg(VMCS),
    "VMCB": dmesg(VMCB, "kvm_amd: "),
    "Xen": "".join(f"(XEN) {line}\n" for line in XEN.splitlines()),
    "fatal": FATAL + REAL,
    "monitor": f"(qemu) info registers\nCPU#0\n{SCREEN}",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_damage_never_raises_and_never_makes_a_guest_healthy(name: str, tmp_path: Path) -> None:
    whole, dice = TEXTS[name].encode(), random.Random(name)
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(damaged))
            how = dice.randrange(3)
            if how == 0:
                damaged[at] = dice.randrange(256)
            elif how == 1:
                del damaged[at : at + dice.randrange(1, 200)]
            else:
                damaged[at:at] = damaged[dice.randrange(len(damaged)) :][: dice.randrange(1, 200)]
            damaged = damaged or bytearray(b"x")
        try:
            said = triage(tmp_path, bytes(damaged))
        except UnusableInput:
            continue
        assert said.status is not Status.HEALTHY, bytes(damaged)


@pytest.mark.parametrize("name", TEXTS)
def test_without_its_head_a_text_claims_no_death(name: str, tmp_path: Path) -> None:
    """Registers alone are registers alone."""
    lines = TEXTS[name].splitlines(keepends=True)
    for first in range(len(lines)):
        part = "".join(lines[first:])
        try:
            said = triage(tmp_path, part)
        except UnusableInput:
            continue
        heads = ("3rd (13)", "Guru Meditation", "KVM internal error", "Guest State", "State Save Area", "qemu: fatal")
        assert said.status is Status.INCOMPLETE or any(head in part for head in heads), part
