"""The instructions that change a CPU's mode, found by their bytes."""

from __future__ import annotations

import pytest

from cr3scope.x86.mode_switch import SwitchKind, find_mode_switches

CASES = {
    "0f22c0": (SwitchKind.CR0, "ax"),
    "0f22d9": (SwitchKind.CR3, "cx"),
    "0f22e3": (SwitchKind.CR4, "bx"),
    "0f30": (SwitchKind.MSR, ""),
    "ea1e8000000800": (SwitchKind.FAR_JUMP, ""),
    "ffab60100000": (SwitchKind.FAR_JUMP, ""),
    "0f0116": (SwitchKind.GDT, ""),
    "0f011d": (SwitchKind.IDT, ""),
    "0f019b": (SwitchKind.IDT, ""),
    "0f00d8": (SwitchKind.TASK, ""),
}


@pytest.mark.parametrize("code", CASES)
def test_each_kind_is_found_where_it_is(code: str) -> None:
    [found] = find_mode_switches(b"\x90\x90" + bytes.fromhex(code) + b"\x90" * 4, with_tables=True)
    assert (found.offset, found.kind, found.register) == (2, *CASES[code])


@pytest.mark.parametrize("code", ["0f20c0", "0f22d0", "0f0100", "0f01d8", "0f00d0", "ffe0", "0f3290", "0f22"])
def test_what_is_none_is_not_found(code: str) -> None:
    assert list(find_mode_switches(bytes.fromhex(code), with_tables=True)) == []


def test_tables_are_found_where_they_are_asked_for() -> None:
    assert list(find_mode_switches(bytes.fromhex("0f0116 0f00d8"), with_tables=False)) == []
