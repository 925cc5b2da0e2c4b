"""The frame at RSP, in the words that its gate and the mode make."""

from __future__ import annotations

from dataclasses import replace

import pytest
from analyze.test_predict_protected import DATA, FLAT_CODE, FLAT_DATA, IDT, STACK, USER_CODE, USER_DATA, Machine, segment

from cr3scope.errors import UnusableInput
from cr3scope.model.frame import candidates, frame_at_rsp, kind_of
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.access import AccessKind
from cr3scope.x86.exceptions import PAGE_FAULT, PROTECTION, UNDEFINED

RIP, FLAGS = 0x1234, 0x202


def at_handler(*words: int, width: int = 4, **registers: int) -> StoppedCpu:
    """A CPU in protected mode, without paging, with these words on its stack."""
    machine = Machine()
    for place, word in enumerate(words):
        machine.put(STACK + place * width, word, width)
    if width == 2:
        machine.gate(PAGE_FAULT, kind=0x86)
    machine.physical = lambda phys, length: bytes(machine.bytes[phys : phys + length])  # type: ignore[attr-defined]
    told = {"RIP": 0x7000, "RSP": STACK, "CR0": 1, "CR2": RIP, "EFER": 0, **registers}
    segments = {"CS": segment(8, FLAT_CODE), "SS": segment(DATA, FLAT_DATA)}
    return StoppedCpu(
        machine, told, selectors={"CS": 8, "SS": DATA}, idt=Table(IDT, 0xFF), code_bits=32, segments=segments,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("width", [4, 2], ids=["32-bit gate", "16-bit gate"])
def test_a_frame_of_protected_mode_has_rsp_and_ss_where_the_ring_changed(width: int) -> None:
    """It was read as one of long mode, and refused."""
    inner = frame_at_rsp(at_handler(2, RIP, 8, FLAGS, width=width), PAGE_FAULT)
    assert (inner.error, inner.rip, inner.cs, inner.flags, inner.rsp, inner.ss) == (2, RIP, 8, FLAGS, STACK + 4 * width, DATA)
    outer = frame_at_rsp(at_handler(6, RIP, USER_CODE | 3, FLAGS, 0x5000, USER_DATA | 3, width=width), PAGE_FAULT)
    assert (outer.rsp, outer.ss, outer.is_user) == (0x5000, USER_DATA | 3, True)


def test_the_words_at_rsp_tell_whether_an_error_code_was_pushed() -> None:
    assert candidates(at_handler(RIP, 8, FLAGS), (UNDEFINED, PROTECTION)) == (UNDEFINED,)
    assert candidates(at_handler(0x18, RIP, 8, FLAGS), (UNDEFINED, PROTECTION)) == (PROTECTION,)
    with pytest.raises(UnusableInput, match="no frame of #GP"):
        frame_at_rsp(at_handler(RIP, 8, FLAGS), PROTECTION)


def test_a_fetch_is_known_by_its_place_where_the_error_code_does_not_tell() -> None:
    now = at_handler(0, RIP, 8, FLAGS)
    assert kind_of(now, frame_at_rsp(now, PAGE_FAULT)) is AccessKind.FETCH
    other = replace(now, registers={**now.registers, "CR2": RIP + 1})
    assert kind_of(other, frame_at_rsp(other, PAGE_FAULT)) is AccessKind.READ
