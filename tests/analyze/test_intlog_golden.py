"""Logs as each release's QEMU wrote them: the same two loaders, from the last interrupts of the firmware to the end.

stack-unmapped: a push below a stack that the new tables lack. idt-wrong-selector: a gate names a selector outside the GDT. The
firmware that came with QEMU 11.1 (OVMF 2026.08) gives its handlers IST stacks: it handles the first one itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.x86.ending import Ending

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
VERSIONS = ("7.2", "10.0", "11.1")
PF, UD, GP = 14, 6, 13
ENDINGS = {"7.2": Ending.TRIPLE_FAULT, "10.0": Ending.TRIPLE_FAULT, "11.1": Ending.DELIVERED}


def log(version: str, name: str) -> Path:
    return CAPTURES / f"qemu-{version}.{name}.interrupts.log"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stack_that_is_not_mapped_reads_the_same_from_each_release(version: str) -> None:
    seen = observe(log(version, "stack-unmapped"))
    assert seen.ending is ENDINGS[version]
    first = seen.first
    assert first is not None and (first.vector, first.error_code) == (PF, 0x2)
    assert first.rsp is not None and first.cr2 == first.rsp - 8
    assert seen.switch_offset is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_gate_that_names_no_segment_reads_the_same_from_each_release(version: str) -> None:
    seen = observe(log(version, "idt-wrong-selector"))
    assert seen.ending is Ending.TRIPLE_FAULT
    assert seen.first is not None and seen.first.vector == UD
    assert seen.fatal is not None and (seen.fatal.vector, seen.fatal.error_code) == (GP, 0x68)
