"""Numbers of foreign text, parsed once where they come in: form, sign and width are checked, the rest of the code has integers.

Python's own ``int()`` takes more than any format means: a sign, underscores, blanks, digits of every script; and it
raises an exception of its own beyond 4,300 decimal digits.
"""

from __future__ import annotations

import re

_HEXADECIMAL = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,64})")
_DECIMAL = re.compile(r"[0-9]{1,64}")
_PREFIXES = ("0x", "0X")


def hexadecimal(text: str, bits: int = 64) -> int | None:
    """Return an unsigned number in hex, with or without 0x; None if it is none, or needs more than ``bits``."""
    found = _HEXADECIMAL.fullmatch(text)
    value = int(found[1], 16) if found else None
    return value if value is not None and value < 1 << bits else None


def decimal(text: str, most: int) -> int | None:
    """Return a number in decimal digits alone; None if it is none, or is more than ``most``."""
    value = int(text) if _DECIMAL.fullmatch(text) else None
    return value if value is not None and value <= most else None


def as_in_c(text: str, bits: int = 64) -> int | None:
    """Return an unsigned number: in hex after 0x, else in decimal; None if it is none, or needs more than ``bits``."""
    return hexadecimal(text, bits) if text.startswith(_PREFIXES) else decimal(text, (1 << bits) - 1)
