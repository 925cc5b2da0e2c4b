"""Code that reads where the machine has no RAM: what a device answers is not known, and decides no forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from analyze.dead_guest import CODE, SIZE, Ram, guest

from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.model.follow.course import Why
from cr3scope.target.stopped_cpu import Range

pytest.importorskip("capstone")
DEVICE = SIZE - 0x1000  # inside of the memory that answers
# mov ecx, [DEVICE]; test ecx, ecx; jz +1; hlt; mov eax, [rip + far away]
BRANCH = bytes.fromhex("8b0c25") + DEVICE.to_bytes(4, "little") + bytes.fromhex("85c9 7401 f4 8b0500000070")


def followed(ram_ranges: Callable[[], Iterable[Range]]) -> CodePrediction:
    ram = Ram()
    ram.put(CODE, BRANCH)
    return predict_code(replace(guest(ram, RIP=CODE), ram_ranges=ram_ranges))


def test_a_branch_on_what_a_device_answers_is_not_followed() -> None:
    seen = followed(lambda: [(0, DEVICE - 1)])
    assert (seen.count, seen.why, seen.fault) == (2, Why.UNTOLD, None)


@pytest.mark.parametrize("ranges", [(), ((0, SIZE - 1),), ((0, DEVICE - 1), (DEVICE, SIZE - 1))])
def test_a_branch_on_ram_is_and_where_nobody_tells_of_any(ranges: tuple[Range, ...]) -> None:
    seen = followed(lambda: ranges)
    assert seen.fault is not None and seen.fault.rip == CODE + 12
