"""Code that goes nowhere on purpose, and code that waits for something."""

from __future__ import annotations

import pytest

from cr3scope.model.parked import Park, park_of
from cr3scope.target.stopped_cpu import GENERAL
from cr3scope.x86.registers import Registers

CODE, STACK, CALLER = 0x10000, 0x20000, 0x10100


def parked(code: str, at: int = 0, halted: bool = False, bits: int = 64, stack: bytes = bytes(64), caller: str = "") -> Park | None:
    """What a CPU does that stands ``at`` bytes into ``code``."""
    mapped = {CODE: bytes.fromhex(code), CALLER: bytes.fromhex(caller), STACK: stack}

    def read(virt: int, count: int) -> bytes | None:
        for base, data in mapped.items():
            if base <= virt < base + len(data):
                return data[virt - base : virt - base + count]
        return None

    registers = Registers(CODE + at, STACK, 8, 0, 0, 0, 0, 0)
    return park_of(read, registers, dict.fromkeys(GENERAL, 0) | {"rsp": STACK, "rbp": STACK + 16}, bits, halted)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(
    ("code", "at", "halted", "wanted"),
    [
        ("eb fe", 0, False, Park.LOOP),
        ("e9 fb ff ff ff", 0, False, Park.LOOP),
        ("90 eb fd", 0, False, Park.CIRCLE),
        ("f3 90 eb fc", 0, False, Park.CIRCLE),
        ("f3 90 eb fc", 2, False, Park.CIRCLE),  # seen at the jump
        ("f4 eb fd", 1, True, Park.HALTED),
        ("fa f4 eb fc", 2, True, Park.HALTED),  # cli; hlt
        ("fb f4 eb fc", 2, True, Park.HALTED),  # sti; hlt
        ("f4 f3 90 90 eb fa", 1, True, Park.HALTED),
        ("f4 eb fd", 1, False, Park.HALTED),  # right behind an interrupt
        ("f4 e8 01 00 00 00 90 eb f6", 1, True, None),  # a call that does not come back here
    ],
)
def test_who_comes_back_to_the_same_place_is_parked(code: str, at: int, halted: bool, wanted: Park | None, bits: int) -> None:
    assert parked(code, at, halted, bits) is wanted


def test_a_function_that_halts_for_its_caller_is_followed_back_to_it() -> None:
    """As compilers do it that inline nothing: loop { halt() }."""
    back = (CALLER + 5).to_bytes(8, "little")
    call = "e8 fb fe ff ff eb f9"  # call CODE; jmp CALLER
    assert parked("f4 c3", 1, True, stack=back + bytes(56), caller=call) is Park.HALTED
    assert parked("f4 c3", 1, True, stack=back + bytes(56), caller="e8 fb fe ff ff 90") is None


@pytest.mark.parametrize(
    ("code", "at", "halted"),
    [
        ("f4", 1, True),  # what is behind it cannot be read
        ("f4 90 90 90", 1, True),  # a lone hlt
        ("f4 c3", 1, True),  # which returns to nobody knows where
        ("90 eb fd", 1, True),  # no hlt before it: another CPU's registers
        ("f4 48 85 c0 74 fa", 1, True),  # test rax, rax; jz: whoever wakes it decides
        ("f4 48 8b 03 eb fa", 1, True),  # reads memory on the way
        ("48 83 3b 00 74 fa", 0, False),  # cmp qword [rbx], 0; jz: a lock
        ("e4 64 a8 01 74 fa", 0, False),  # in al, 64h; test; jz: a device
        ("f3 90 48 39 03 75 f9", 0, False),
        ("e8 fb ff ff ff", 0, False),  # calls itself until the stack ends
        ("eb fe " * 16, 2, False),  # what somebody has filled memory with
        ("f4 eb fd" * 10, 1, True),
        ("90" * 300, 0, False),  # runs through no-operations
        ("00 00" * 150, 0, False),  # or zeros
        ("0f 0b", 0, False),
        ("", 0, False),
    ],
)
def test_who_waits_decides_or_runs_on_is_not(code: str, at: int, halted: bool) -> None:
    assert parked(code, at, halted) is None


def test_16_bit_code_is_not_judged() -> None:
    assert parked("eb fe", 0, False, bits=16) is None
