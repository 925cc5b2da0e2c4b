"""Random but consistent logs: the verdict is what the model of the CPU that wrote them meant (`make bench` runs many more)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from analyze.logs.cpu import EXCEPTION, GP, INT, PF, Cpu, Died, Flaw, Gate, Happening, Machine, Mode
from analyze.logs.fuzz import differences, make
from analyze.logs.qemu_writer import VERSIONS, pieces

FIRST, SOME, MANY, PORTION = 0, 150, 1500, 50
COUNT = MANY if os.environ.get("CR3SCOPE_TEST_ALL") == "1" else SOME


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, PORTION))
def test_the_verdict_is_what_the_model_meant(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + PORTION):
        case, path = make(seed), tmp_path / f"{seed}.log"
        found = differences(case, path)
        assert not found, f"seed {seed}, {case.version.name}, {case.ends}: {path}\n" + "\n".join(found)


def test_the_logs_are_of_all_kinds() -> None:
    cases = [make(seed) for seed in range(SOME)]
    outcomes = {told.outcome for case in cases for told in case.meaning.told}
    assert outcomes == {"triple-fault", "storm", "delivered", "ran"}
    kinds = {fatal.kind for case in cases for told in case.meaning.told for fatal in told.fatals}
    assert kinds == {"exception", "int", "interrupt"}
    assert {case.version for case in cases} == set(VERSIONS)
    assert any(len(case.meaning.told) > 0 and (case.meaning.boots or 0) > 2 for case in cases)


def test_a_difference_is_found(tmp_path: Path) -> None:
    """The comparison can fail: a log with another fault than was meant."""
    case = next(case for case in map(make, range(SOME)) if any(told.chain and told.outcome == "triple-fault" for told in case.meaning.told))
    fatal = case.meaning.told[0].fatals[0]
    fatal.cpu.rip += 1
    assert any("fatal" in found or "outcome" in found for found in differences(case, tmp_path / "log"))


@pytest.mark.parametrize(
    ("flaw", "chain"),
    [
        (Flaw.EMPTY, [(6, None), (GP, 6 * 8 + 2), (8, 0)]),
        (Flaw.NULL, [(6, None), (GP, 0), (8, 0)]),
        (Flaw.BEYOND, [(6, None), (GP, 0x28), (8, 0)]),
        (Flaw.ABSENT, [(6, None), (11, 6 * 8 + 2), (8, 0)]),
    ],
)
def test_the_model_delivers_as_the_manual_says(flaw: Flaw, chain: list[tuple[int, int | None]]) -> None:
    """A benign exception whose gate is flawed raises a contributory one; that one's gate makes a double fault of it."""
    cpu = Cpu(Mode.LONG, rip=0x1000, rsp=0x8000, idt=(0x9000, 0xFFF), gates={v: Gate(0x2000, flaw) for v in (6, 8, 11, GP)})
    machine = Machine(0)
    assert not machine.raise_(cpu, 6)
    events = [each for each in machine.happened if isinstance(each, Happening)]
    assert [(each.vector, each.error if each.vector != 6 else None) for each in events] == chain
    assert isinstance(machine.happened[-1], Died)


def test_the_model_pushes_on_the_aligned_stack_and_names_the_address_that_has_no_page() -> None:
    cpu = Cpu(Mode.LONG, rip=0x1000, rsp=0x8008, idt=(0x9000, 0xFFF), gates={v: Gate(0x2000) for v in range(32)}, away=[(0x7FF0, 0x7FFF)])
    machine = Machine(0)
    assert not machine.interrupt(cpu, 3, INT)
    first, fault, double, end = machine.happened
    assert isinstance(fault, Happening) and (fault.kind, fault.vector, fault.error, fault.cpu.cr2) == (EXCEPTION, PF, 2, 0x7FF8)
    assert isinstance(double, Happening) and (double.vector, double.old, double.cpu.cr2) == (8, PF, 0x7FF8)
    assert isinstance(first, Happening) and first.failed == "stack-unmapped" and isinstance(end, Died)


def test_a_log_is_written_as_qemu_does() -> None:
    cpu = Cpu(Mode.LONG, rip=0x1000, rsp=0x8000, idt=(0, 0))
    machine = Machine(0)
    machine.raise_(cpu, PF, 2, 0x45, "write")
    text = "".join(piece.text for piece in pieces(machine.happened, VERSIONS[3], "both"))
    lines = [line for line in text.splitlines() if "v=" in line or "check" in line or "Triple" in line]
    assert lines == [
        "check_exception old: 0xffffffff new 0xe",
        "     0: v=0e e=0002 i=0 cpl=0 IP=0008:0000000000001000 pc=0000000000001000 SP=0010:0000000000008000 CR2=0000000000000045",
        "check_exception old: 0xe new 0xd",
        "     1: v=08 e=0000 i=0 cpl=0 IP=0008:0000000000001000 pc=0000000000001000 SP=0010:0000000000008000"
        " env->regs[R_EAX]=0000000012345000",
        "check_exception old: 0x8 new 0xd",
        "Triple fault",
    ]
