"""Which instruction has just stored, of a CPU that was stopped behind it."""

from __future__ import annotations

import pytest
from analyze.dead_guest import CODE, Ram, guest

from cr3scope.model.stored_here import stored_here

TABLE = 0x20000
# What stands before it: an instruction whose last bytes would go well with the store, as a prefix does.
BEFORE = bytes.fromhex("b866666648" "90" * 1)
DF = 0x400


@pytest.mark.parametrize(
    ("code", "registers"),
    [
        ("488907", {"RDI": TABLE}),  # mov [rdi], rax: 89 07 alone would store there as well
        ("8907", {"RDI": TABLE}),
        ("48890cc7", {"RDI": TABLE - 8, "RAX": 1}),  # mov [rdi + 8 * rax], rcx
        ("48830f04", {"RDI": TABLE}),  # or qword ptr [rdi], 4
        ("f00fb117", {"RDI": TABLE + 4}),  # lock cmpxchg [rdi], edx
        ("48890500cf0000", {}),  # mov [rip + ..], rax
        ("48ab", {"RDI": TABLE + 8}),  # stosq has gone on
        ("48ab", {"RDI": TABLE - 8, "RFL": DF}),
        ("f348a5", {"RDI": TABLE + 8}),  # the last turn of rep movsq
        ("0f2907", {"RDI": TABLE - 8}),  # movaps: 16 bytes
    ],
)
def test_the_instruction_that_ends_there_and_stores_there_is_found(code: str, registers: dict[str, int]) -> None:
    ram, data = Ram(), bytes.fromhex(code)
    if not registers:
        data = data[:3] + (TABLE - CODE - len(data)).to_bytes(4, "little")
    ram.put(CODE - 70, b"\x90" * (70 - len(BEFORE)) + BEFORE)
    ram.put(CODE, data)
    now = guest(ram, RIP=CODE + len(data), **registers)
    assert stored_here(now, TABLE, 8) == CODE


def test_of_one_that_repeats_rip_has_not_gone_on() -> None:
    ram = Ram()
    ram.put(CODE - 70, b"\x90" * 70)
    ram.put(CODE, bytes.fromhex("f348ab"))
    assert stored_here(guest(ram, RIP=CODE, RDI=TABLE + 8, RCX=5), TABLE, 8) == CODE


@pytest.mark.parametrize(("code", "registers"), [
    ("488b07", {"RDI": TABLE}),  # a load
    ("488907", {"RDI": TABLE + 8}),  # beside it
    ("4889ff", {"RDI": TABLE}),
])  # fmt: skip
def test_where_nothing_stores_there_nobody_is_named(code: str, registers: dict[str, int]) -> None:
    """As where memory is not mapped at its own address, and the word was reached by another one."""
    ram, data = Ram(), bytes.fromhex(code)
    ram.put(CODE - 70, b"\x90" * 70)
    ram.put(CODE, data)
    assert stored_here(guest(ram, RIP=CODE + len(data), **registers), TABLE, 8) is None
