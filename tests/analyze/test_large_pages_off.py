"""Code that is read elsewhere than its large page, since CR4.PSE is off: told from the paused machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cr3scope.diagnose.rules.switch import large_pages_off
from cr3scope.paging.tables import Entries
from cr3scope.render.finding import title
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import CR0_PE, CR0_PG, CR4_PSE

DIRECTORY = 0x1000


class Memory:
    """A page directory whose first entry has PS and frame 0, where the vectors of real mode lie."""

    def __init__(self, first: int) -> None:
        self.words = {DIRECTORY: first, 4 * 7: 0xF000_FF73}

    def table(self, phys: int) -> Entries | None:
        return np.frombuffer(self.physical(phys, 4096), "<u8").astype(np.uint64)

    def physical(self, phys: int, length: int) -> bytes:
        words = (self.words.get(at, 0) for at in range(phys & -4, phys + length + 4, 4))
        return b"".join(word.to_bytes(4, "little") for word in words)[phys & 3 :][:length]


@pytest.mark.parametrize(("first", "cr4", "is_told"), [(0x83, 0, True), (0x83, CR4_PSE, False), (0x03, 0, False)], ids=["off", "on", "table"])
def test_code_in_a_large_page_without_pse_is_told(first: int, cr4: int, is_told: bool) -> None:
    cpu = StoppedCpu(Memory(first), {"CR0": CR0_PG | CR0_PE, "CR3": DIRECTORY, "CR4": cr4, "EFER": 0}, code_bits=32)
    found = large_pages_off.of_code(replace(cpu, number=1), 0x704E)
    assert (found is not None) == is_told
    assert found is None or title(found).startswith("PD[0] has PS set, but CR4.PSE is 0")
