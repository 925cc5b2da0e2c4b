"""What code outside ring 0 may not execute (SDM 3A, 6.9): foreseen as #GP(0), before memory is touched; and INT (7.12.1.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from analyze.mode_machine import Machine

from cr3scope.model.delivered import Raised
from cr3scope.model.delivery import Delivery
from cr3scope.model.follow.follow import Path, follow
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.mode import PAGED, Mode
from cr3scope.x86.platform import Platform
from cr3scope.x86.registers import Registers

CODE, STACK, IOPL_3, CR4_PAE, CR4_PVI = 0x1000, 0x8000, 3 << 12, 0x20, 2
KERNEL, USER = 0x28, 0x33


def way(code: str, cs: int, rflags: int = 2, cr4: int = CR4_PAE) -> Path:
    """The way through an instruction and the nops behind it, to ud2."""
    data = bytes.fromhex(code) + b"\x90\x90\x0f\x0b"

    def read(virt: int, count: int) -> bytes | None:
        return data[virt - CODE :][:count] or None

    now = Registers(rip=CODE, rsp=STACK, cs=cs, tr=0, gdt_base=0, gdt_limit=0, idt_base=0, idt_limit=0, rflags=rflags)
    return follow(read, {"rsp": STACK, "rax": 0x10, "rcx": 0x10, "rdx": 0x80}, now, 64, CpuState(0x1000, cr4=cr4))


def refused(path: Path) -> tuple[int, int | None, int] | None:
    """Vector, error code and where; None if the way ends untold."""
    return None if path.stop is None else (path.stop.refused.vector, path.stop.refused.error_code, path.stop.registers.rip - CODE)


PRIVILEGED = ["f4", "0f06", "0f08", "0f09", "0f20c0", "0f22d8", "0f23f8", "0f011424", "0f011c24", "0f32", "0f30", "0f013c24", "0f01f0"]
AT_START = (13, 0, 0)


@pytest.mark.parametrize("code", [*PRIVILEGED, "fa", "fb"])
def test_in_ring_3_it_is_refused_before_it_touches_memory(code: str) -> None:
    path = way(code, USER)
    assert refused(path) == AT_START
    assert [step.virt for step in path.steps if step.virt != CODE and step.virt >= STACK] == []


@pytest.mark.parametrize("code", [*PRIVILEGED, "fa", "fb", "e480"])
def test_in_ring_0_it_is_not(code: str) -> None:
    assert refused(way(code, KERNEL)) in (None, (6, None, len(code) // 2 + 2))


def test_a_popped_iopl_is_taken_in_ring_0_alone() -> None:
    """Of code in ring 3 it was taken too (SDM 2B, POPF, table 4-16)."""
    pushed_and_popped = "68023200009d"  # push 3202h: IOPL 3 and IF
    assert refused(way(f"{pushed_and_popped}fa", USER)) == (13, 0, 6)
    assert refused(way(f"{pushed_and_popped}fa", USER, IOPL_3)) == (6, None, 9)
    for cs, rflags, kept in ((USER, 2, 2), (USER, IOPL_3 | 2, 0x3202), (KERNEL, 2, 0x3202)):
        stop = way(pushed_and_popped, cs, rflags).stop
        assert stop is not None and stop.registers.rflags == kept


def test_iopl_lets_cli_through_and_the_bitmap_of_the_tss_is_not_guessed() -> None:
    assert refused(way("fa", USER, IOPL_3)) == (6, None, 3)
    assert refused(way("fa", USER, cr4=CR4_PAE | CR4_PVI)) is None
    for code in ("e480", "e680", "6c", "f36c"):
        assert refused(way(code, USER)) is None
        assert refused(way(code, USER, IOPL_3)) != AT_START


@pytest.mark.parametrize("mode", sorted(PAGED, key=lambda one: one.value))
@pytest.mark.parametrize(("kind", "software", "is_refused"), [(0x8E, True, True), (0xEE, True, False), (0x8E, False, False)])
def test_int_at_cpl_3_needs_a_gate_of_dpl_3_in_every_mode(mode: Mode, kind: int, software: bool, is_refused: bool) -> None:
    machine = Machine(mode)
    machine.gate(20, kind=kind, ist=0)
    now = machine.stopped()
    user = replace(now.delivery_registers, cs=USER)
    came = Delivery(now, now.cpu, now, Platform.HARDWARE).deliver(20, user, software=software)
    refusal = (13, 20 << 3 | 2)
    assert ((came.vector, came.error_code) == refusal if isinstance(came, Raised) else False) == is_refused
