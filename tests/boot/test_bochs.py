"""The model against another model of the CPU: what it foresees of an access under one flipped bit is what Bochs does.

As test_machine_modes.py, in every mode that Bochs' CPU has; it has no RAM above 4 GiB here, and so no frames for PSE-36.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from boot.modes import bochs
from boot.modes.cases import cases
from boot.modes.guest import Cpu
from boot.modes.memory import Image
from boot.modes.spaces import spaces
from boot.reference import takes_all

from cr3scope.x86.platform import Platform

SAMPLE, ALL = 100, 1000  # of each mode
SEED = 18
CPU = Cpu(40, False, True, True, True, False)  # of its MODEL
MODES = ("32-bit without PSE", "32-bit with PSE", "PAE", "PAE with NXE", "compatibility", "4-level")
_ALL_BUT_5_LEVEL = 7


@pytest.mark.parametrize("mode", MODES if takes_all() else ("PAE", "4-level"))
def test_bochs_does_what_is_foreseen(mode: str, tmp_path: Path) -> None:
    image = Image(has_high=False)
    space = next(one for one in islice(spaces(image), _ALL_BUT_5_LEVEL) if one.name == mode)
    made = list(islice(cases(image, space, CPU, Platform.HARDWARE, SEED), ALL if takes_all() else SAMPLE))
    told, answers = bochs.ask(tmp_path, image, [case.record for case in made])
    assert told == CPU
    assert len(answers) == len(made), f"the guest died of {made[len(answers)].said}"
    assert [words for case, answer in zip(made, answers) if (words := case.differs(answer))] == []
