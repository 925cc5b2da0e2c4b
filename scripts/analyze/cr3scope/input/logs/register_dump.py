"""QEMU's dump of a CPU's registers, as its logs and its monitor's `info registers` print it."""

from __future__ import annotations

import re

# `CS =0038 0000..` and the like are segments; HLT is the one flag of interest.
_REGISTER = re.compile(r"\b(?:([A-Z][A-Z0-9]{1,3}) ?=([0-9a-f]{8,16})|(HLT)=([01]))\b")


def read_registers(text: str) -> dict[str, int]:
    """Return the registers of one CPU by the names that the dump gives them."""
    found = _REGISTER.finditer(text)
    return {match[1] or match[3]: int(match[2] or match[4], 16) for match in found}
