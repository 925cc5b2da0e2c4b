"""A guest stands still only if nothing but its time can pass."""

from __future__ import annotations

from analyze.said import title
from typing import Any, cast

import pytest

from cr3scope.diagnose.causes import still_spinning
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.model.counting import counts
from cr3scope.qemu.ending import running_words
from cr3scope.qemu.outcome import Outcome
from cr3scope.target.standstill import LOOKS, moves, stands_still
from cr3scope.target.stopped_cpu import StoppedCpu

ON, OFF = 0x202, 0x2
Look = tuple[dict[str, int], ...]


def cpu(rip: int = 0x1000, rfl: int = OFF, hlt: int = 0, **more: int) -> dict[str, int]:
    return {"RIP": rip, "RFL": rfl, "HLT": hlt, "RCX": 5, **more}


def looping(number: int) -> dict[str, int]:
    """Between two instructions of a loop that reads a flag."""
    return cpu(rip=0x1000 + 2 * (number % 2), RAX=number)


HALTED_OFF = [(cpu(hlt=1),)] * LOOKS
STILL: dict[str, list[Look]] = {
    "halted with interrupts off": HALTED_OFF,
    "a tight loop": [(looping(n),) for n in range(LOOKS)],
    "a tight loop, the others wait to be started": [(looping(n), cpu(hlt=1)) for n in range(LOOKS)],
}
STILL |= {
    "a tight loop of 32 bits": [({"EIP": 0x1000 + 2 * (n % 2), "EAX": n % 2, "EFL": OFF, "CR0": 0x11, "HLT": 0},) for n in range(LOOKS)],
}
ALIVE: dict[str, list[Look]] = {
    "not looked at often enough": HALTED_OFF[1:],
    "halted with interrupts on": [(cpu(hlt=1, rfl=ON),)] * LOOKS,
    "woken once": [*HALTED_OFF[1:], (cpu(hlt=0, rip=0x9000),)],
    "a loop with interrupts on": [(cpu(rfl=ON),)] * LOOKS,
    "a loop that counts": [(cpu(RCX=n),) for n in range(LOOKS)],
    "code all over": [(cpu(rip=0x1000 * n),) for n in range(LOOKS)],
    "another CPU at work": [(cpu(hlt=1), cpu(RCX=n)) for n in range(LOOKS)],
    "a loop of real mode": [({"EIP": 0x1000, "EFL": OFF, "CR0": 0x10, "HLT": 0},)] * LOOKS,
    "registers that are not told": [({},)] * LOOKS,
    "no CPU told": [()] * LOOKS,
}


@pytest.mark.parametrize("looks", STILL.values(), ids=STILL)
def test_nothing_can_wake_it(looks: list[Look]) -> None:
    assert stands_still(looks)


@pytest.mark.parametrize("looks", ALIVE.values(), ids=ALIVE)
def test_it_may_still_go_on(looks: list[Look]) -> None:
    assert not stands_still(looks)


def test_a_loop_that_shows_another_value_at_the_same_place_moves() -> None:
    assert moves([cpu(RAX=n) for n in range(LOOKS)])
    assert not moves([cpu(rip=0x1000 + n, RAX=n) for n in range(LOOKS)])


@pytest.mark.parametrize(("flags", "words"), [(ON, "halted, waiting for an interrupt at"), (OFF, "up: halted at")])
def test_nobody_waits_for_an_interrupt_with_interrupts_off(flags: int, words: str) -> None:
    assert words in running_words(Outcome(registers=cpu(hlt=1, rfl=flags), seconds=5))


@pytest.mark.parametrize(
    ("code", "seen", "is_counting"),
    [
        ("eb fe", [0], False),
        ("f3 90 85 c0 74 fa", [0, 2], False),  # pause; test eax, eax; je
        ("8b 05 00 01 00 00 85 c0 74 f6", [0, 6], False),  # a flag in memory
        ("ec 24 01 74 fb", [0], False),  # a device: in al, dx; and al, 1; je
        ("b0 01 86 07 84 c0 75 f8", [0, 2], False),  # a lock: mov al, 1; xchg [rdi], al
        ("f3 90 48 ff c8 75 f9", [0], True),  # pause; dec rax; jne
        ("ff 04 24 eb fb", [0], True),  # inc dword [rsp]
        ("8b 04 24 ff c0 89 04 24 eb f6", [0, 5], True),  # the same by way of eax
        ("0f 31 39 c8 72 fa", [0], True),  # rdtsc; cmp eax, ecx
        ("90 90 90", [0], True),  # no loop at all
        ("0f 22 d8 90", [0], False),  # mov cr3, rax, refused again and again
        ("0f 22 d8 90", [0, 3], True),
    ],
)
def test_a_loop_that_counts_is_told_from_one_that_waits(code: str, seen: list[int], is_counting: bool) -> None:
    data = bytes.fromhex(code)

    def read(virt: int, count: int) -> bytes | None:
        return data[virt - 0x1000 :][:count] if virt >= 0x1000 else None

    assert counts(read, [0x1000 + each for each in seen], 64) is is_counting


MASKED = [(cpu(rfl=ON),)] * LOOKS


def test_a_loop_with_interrupts_on_stands_still_once_none_comes() -> None:
    assert stands_still(MASKED, interrupted=False)
    assert not stands_still([(cpu(rfl=ON, RCX=n),) for n in range(LOOKS)], interrupted=False)


def test_a_halt_that_waits_for_interrupts_is_no_standstill_even_if_none_comes() -> None:
    assert not stands_still([(cpu(hlt=1, rfl=ON),)] * LOOKS, interrupted=False)


IDLE = [cpu(rip=0x5000, rfl=ON, hlt=1)] * LOOKS


def told(*cpus: list[dict[str, int]], judged: int = 0) -> list[Finding]:
    looks = list(zip(*cpus, strict=True))
    snapshot = StoppedCpu(cast(Any, None), {"EFER": 0x500}, number=judged)
    return list(still_spinning(snapshot, looks))


def test_a_cpu_that_spins_while_others_live_is_noted() -> None:
    [found] = told(IDLE, [looping(n) for n in range(LOOKS)], judged=1)
    assert (found.rule, found.severity) == ("hang-loop", Severity.NOTE)
    assert title(found) == "CPU 1 of 2 is in a tight loop at RIP=0x1000 with interrupts off"


def test_a_cpu_that_goes_on_or_may_be_interrupted_is_none() -> None:
    assert not told(IDLE, [cpu(rip=n << 12) for n in range(1, 4)], judged=1)
    assert not told(IDLE, [cpu(rfl=ON)] * LOOKS, judged=1)
    assert not told([cpu()] * LOOKS)


@pytest.mark.parametrize(("flags", "words"), [
    ([ON, ON], "interrupts on"), ([OFF, OFF], "interrupts off"), ([ON, OFF], "interrupts on and off"),
])  # fmt: skip
def test_interrupts_that_are_off_for_moments_are_told_as_both(flags: list[int], words: str) -> None:
    looks = [(cpu(rfl=flag),) for flag in flags]
    outcome = Outcome(registers=cpu(rfl=flags[0]), looks=looks, seconds=5)
    assert running_words(outcome).endswith(words)
