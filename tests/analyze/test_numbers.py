"""Numbers of foreign text: what Python's own int() takes beyond what a format means is none."""

from __future__ import annotations

import argparse

import pytest

from cr3scope.cli import elf_option, source_options
from cr3scope.numbers import as_in_c, decimal, hexadecimal

NO_NUMBERS = ["", "-1", "+1", " 1", "1 ", "1_0", "1\n", "\u0661", "\uff11", "0x", "0x-1", "0b1", "0o7", "1e3", "1.0", "9" * 5000, "0x" + "f" * 5000]


@pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: ascii(text)[:20])
def test_what_is_no_unsigned_number_is_none(text: str) -> None:
    assert as_in_c(text) is None and decimal(text, 1 << 64) is None
    assert hexadecimal(text) is None or text in ("0b1", "1e3")  # hex digits, all of them


@pytest.mark.parametrize(
    ("text", "bits", "value"),
    [("0", 1, 0), ("0xFF", 8, 255), ("100", 8, None), ("ffffffffffffffff", 64, (1 << 64) - 1), ("10000000000000000", 64, None)],
)
def test_a_number_in_hex_fits_its_width_or_is_none(text: str, bits: int, value: int | None) -> None:
    assert hexadecimal(text, bits) == value


def test_a_number_in_decimal_is_at_most_what_is_allowed() -> None:
    assert [decimal(text, 52) for text in ("0", "052", "52", "53")] == [0, 52, 52, None]
    assert (as_in_c("18446744073709551615"), as_in_c("18446744073709551616"), as_in_c("0x10")) == ((1 << 64) - 1, None, 16)


@pytest.mark.parametrize("text", ["-1", "1_0", " 1", "\uff11", "1" * 5000], ids=lambda text: ascii(text)[:20])
def test_an_address_on_the_command_line_is_a_plain_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        source_options.hexadecimal(text)
    with pytest.raises(argparse.ArgumentTypeError):
        elf_option.elf_file(f"file@{text}")
