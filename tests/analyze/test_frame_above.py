"""The frame above the word that a refused iret takes for RIP: told from the stack, and silent where the stack holds no such frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
from analyze.test_audit import CODE, DESCRIPTORS, HIGH, STACK, Machine

from cr3scope.diagnose.facts.frame_above import FrameAbove, frame_above

USER_CODE, USER_DATA, FLAGS = 0x23, 0x2B, 0x202


def told(*words: int, rsp: int = STACK + 0x100) -> FrameAbove | None:
    machine = Machine()
    machine.word(DESCRIPTORS + 0x20, 0x00AF_FB00_0000_FFFF)
    machine.word(DESCRIPTORS + 0x28, 0x00CF_F300_0000_FFFF)
    machine.frames[CODE][:2] = bytes.fromhex("48cf")
    for number, word in enumerate(words):
        machine.word(rsp + 8 * number, word)
    cpu = machine.cpu()
    registers = {**cpu.registers, "RIP": HIGH + CODE, "RSP": HIGH + rsp}
    return frame_above(replace(cpu, registers=registers, gdt=replace(cpu.gdt, limit=0x2F) if cpu.gdt else None))


RING_0 = (2, HIGH + CODE + 0x20, 8, FLAGS)
RING_3 = (4, HIGH + CODE + 0x20, USER_CODE, FLAGS, 0x7000, USER_DATA)


@pytest.mark.parametrize("words", [RING_0, RING_3], ids=["ring 0", "ring 3"])
def test_an_error_code_that_was_left_is_told_from_the_stack(words: tuple[int, ...]) -> None:
    assert told(*words) == FrameAbove(words[0], words[1], words[2], FLAGS)


@pytest.mark.parametrize("words", [
    RING_0[1:],  # the frame itself
    (2, HIGH + CODE + 0x20, 0x10, FLAGS),  # CS is no code
    (2, 0x5000, 8, FLAGS),  # RIP cannot be read
    (2, HIGH + CODE + 0x20, 8, 0x200),  # bit 1 of the flags is always set
    (2, HIGH + CODE + 0x20, 8, FLAGS | 1 << 15),
    (*RING_3[:5], 0x10),  # the stack is no stack of ring 3
    (*RING_3[:3], FLAGS, 0x7000, USER_DATA & ~3),
], ids=["whole", "cs", "rip", "flags", "reserved", "ss", "rpl"])  # fmt: skip
def test_another_stack_tells_nothing(words: tuple[int, ...]) -> None:
    assert told(*words) is None
