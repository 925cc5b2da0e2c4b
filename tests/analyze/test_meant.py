"""Which entries translate an address that a trace named, in every mode of paging."""

from __future__ import annotations

import numpy as np
import pytest
from analyze.boot_builder import Scene

from cr3scope.diagnose.shared.meant import Meant
from cr3scope.input.capture.records import MapRecord
from cr3scope.model.intent import Intent
from cr3scope.paging.reach import Stage
from cr3scope.x86.cpu_state import CR4_PAE, CpuState
from cr3scope.x86.entry import formats_of

LAST_MEGABYTE = 0x30_0000, 0x3F_FFFF  # of what the first entry of a page directory of 32-bit paging translates


@pytest.mark.parametrize(("cr4", "translating"), [(0, [0]), (CR4_PAE, [1])])
def test_an_entry_translates_as_much_as_its_mode_says(cr4: int, translating: list[int]) -> None:
    """2 MiB were taken for an entry of 32-bit paging, which translates 4 MiB (SDM 3A, 5.3)."""
    boot = Scene().boot
    boot.maps.append(MapRecord(0, "kernel", "kernel", *LAST_MEGABYTE, LAST_MEGABYTE[0], "rwx", 0x1000, "wb", 0x1000))
    form = next(one for one in formats_of(CpuState(0x1000, cr0=0x8000_0001, cr4=cr4, efer=0)) if one.level == 2)
    entries = np.ones((1, form.entries), dtype=np.uint64)
    stage = Stage(form, 2, np.array([0x1000], dtype=np.uint64), np.zeros(1, dtype=np.uint64), entries)
    assert np.flatnonzero(Meant(Intent(boot)).is_below(stage, stage.present)[0]).tolist() == translating
