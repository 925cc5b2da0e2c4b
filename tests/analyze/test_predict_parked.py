"""Code that goes nowhere on purpose, and code that waits for something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cr3scope.model.parked import Park, park_of
from cr3scope.target.stopped_cpu import GENERAL
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.registers import Registers
from cr3scope.x86.segment import Segment
from cr3scope.x86.word import MASK32

CODE, STACK, CALLER = 0x10000, 0x20000, 0x10100


def parked(
    code: str, at: int = 0, halted: bool = False, bits: int = 64, stack: bytes = bytes(64), caller: str = "", base: int = 0
) -> Park | None:
    """What a CPU does that stands ``at`` bytes into ``code``; ``base``: of its code segment, outside long mode."""
    mapped = {CODE: bytes.fromhex(code), CALLER: bytes.fromhex(caller), STACK: stack}

    def read(virt: int, count: int) -> bytes | None:
        for base, data in mapped.items():
            if base <= virt < base + len(data):
                return data[virt - base : virt - base + count]
        return None

    registers = Registers(CODE + at, STACK, 8, 0, 0, 0, 0, 0)
    general = dict.fromkeys(GENERAL, 0) | {"rsp": STACK, "rbp": STACK + 16}
    if base:
        code_segment = Segment(8, base, MASK32, 0x00CF9A00)
        registers = replace(registers, rip=CODE + at - base & MASK32, mode=CpuMode.PROTECTED, segments={"cs": code_segment})
        general["cs_base"] = base
    return park_of(read, registers, general, bits, halted)


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


@pytest.mark.parametrize(("code", "at", "halted", "wanted"), [("eb fe", 0, False, Park.LOOP), ("f4 eb fd", 1, True, Park.HALTED)])
def test_a_code_segment_may_have_a_base(code: str, at: int, halted: bool, wanted: Park) -> None:
    """As of kernels that reach their upper half by segments before they page: they were hung."""
    assert parked(code, at, halted, 32, base=0x40000000) is wanted


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


GUARD = 0x595E_9FBD_94FD_A766
# sub rsp, 28h; mov rax, [GUARD]; mov [rsp+18h], rax; hlt; mov rax, [rsp+18h]; sub rax, [GUARD]; jne +5; add rsp, 28h; ret; call; nop
LOADED = "48 8b 04 25 00 02 01 00"
HALT_CHECKED = f"48 83 ec 28 {LOADED} 48 89 44 24 18 f4 48 8b 44 24 18 48 2b 04 25 00 02 01 00 75 05 48 83 c4 28 c3 e8 00 00 00 00 90"
AT = 0x12  # behind hlt


def checked(code: str, guard: int = GUARD, kept: int | None = None, after: str = "eb f9", thread: int | None = None) -> Park | None:
    """What a CPU does that is halted in a function with a canary, which CALLER calls and then does what is ``after`` it."""
    data = bytes.fromhex(code)
    stack = bytes(24) + (guard if kept is None else kept).to_bytes(8, "little") + bytes(8) + (CALLER + 5).to_bytes(8, "little") + bytes(64)
    call = bytes.fromhex("e8 fb fe ff ff") + bytes.fromhex(after)
    mapped = {CODE: data, CALLER: call, STACK: stack, 0x10200: guard.to_bytes(8, "little"), 0x28: guard.to_bytes(8, "little")}

    def read(virt: int, count: int) -> bytes | None:
        for base, content in mapped.items():
            if base <= virt < base + len(content):
                return content[virt - base : virt - base + count]
        return None

    bases = {} if thread is None else {"fs_base": thread}
    registers = Registers(CODE + data.index(b"\xf4") + 1, STACK, 8, 0, 0, 0, 0, 0)
    return park_of(read, registers, dict.fromkeys(GENERAL, 0) | bases | {"rsp": STACK, "rbp": STACK + 0x20}, 64, True)


def test_the_check_of_a_canary_is_no_decision() -> None:
    assert checked(HALT_CHECKED) is Park.HALTED
    # gcc -O0, and by fs:28h: je over the call; leave; ret
    by_thread = "55 48 89 e5 48 83 ec 20 64 48 8b 04 25 28 00 00 00 48 89 45 f8 f4 48 8b 45 f8 64 48 2b 04 25 28 00 00 00 74 05 e8 00 00 00 00 c9 c3"
    assert checked(by_thread, thread=0) is Park.HALTED
    assert checked(by_thread, guard=7, thread=0) is Park.HALTED  # nothing else lies there
    assert checked(by_thread) is None  # nobody knows where it lies


def test_what_only_looks_like_a_canary_is_a_decision() -> None:
    ticks = HALT_CHECKED.replace("e8 00 00 00 00 90", "e8 00 00 00 00 48 83 c4 28 c3")
    assert checked(ticks, guard=7) is None  # if (ticks != before) handle(); and it goes on
    assert checked(HALT_CHECKED, kept=GUARD + 1) is None  # it differs: the stack was written over
    assert checked(HALT_CHECKED, guard=0) is None
    assert checked(HALT_CHECKED.replace("75 05 48", "7c 05 48")) is None  # jl
    assert checked(HALT_CHECKED.replace("e8 00 00 00 00 90", "0f 0b 90 90 90 90")) is None
    assert checked(HALT_CHECKED, after="90") is None  # the caller does not come back


def test_mwait_in_a_loop_is_parked_and_one_that_looks_first_is_not() -> None:
    assert parked("0f 01 c8 0f 01 c9 eb f8", 6, True) is Park.WAITS
    assert parked("b8 00 00 02 00 0f 01 c8 31 c0 0f 01 c9 eb f1", 13, True, bits=32) is Park.WAITS
    assert parked("0f 01 c8 48 83 3b 00 75 05 0f 01 c9 eb f2", 12, True) is None  # it looks at memory before it sleeps
    assert parked("0f 01 c9 90 90 90", 3, True) is None


def test_a_comparison_whose_other_way_stops_for_good_decides_nothing() -> None:
    """A check by hand, with a guard of a few bits: je over `jmp self`; add rsp, 28h; ret."""
    by_hand = f"48 83 ec 28 {LOADED} 48 89 44 24 18 f4 48 8b 44 24 18 48 2b 04 25 00 02 01 00 74 02 eb fe 48 83 c4 28 c3"
    assert checked(by_hand, guard=0x1234) is Park.HALTED
    # je over call; the function that is called loops. Then the same with one that returns.
    called = by_hand.replace("74 02 eb fe", "74 05 e8 07 00 00 00") + "90 90"
    assert checked(called + "eb fe", guard=0x1234) is Park.HALTED
    assert checked(called + "90 c3", guard=0x1234) is None
    # mov rdx, [GUARD]; cmp rdx, rax: the value is kept in a register
    in_register = "48 83 ec 28 f4 48 8b 14 25 00 02 01 00 48 39 c2 74 02 eb fe 48 83 c4 28 c3"
    assert checked(in_register, guard=0x1234) is None  # rax is 0
