"""Whether an address is one to which a call returns: a call instruction ends right before it.

Intel SDM volume 2A, CALL: E8 with a relative target, or FF /2 with a register or a memory operand.
"""

from __future__ import annotations

import re

LONGEST = 7  # FF /2 with SIB byte and disp32; a REX prefix before it changes nothing here
_RELATIVE = re.compile(rb"\xe8(.{4})\Z", re.DOTALL)
_INDIRECT = re.compile(
    rb"\xff(?:[\xd0-\xd7]"  # a register
    rb"|[\x10-\x13\x16\x17]|\x14[^\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"  # memory without displacement
    rb"|[\x50-\x53\x55-\x57].|\x54.."  # with one byte of it
    rb"|\x15.{4}|\x14[\x05\x0d\x15\x1d\x25\x2d\x35\x3d].{4}"  # with four
    rb"|[\x90-\x93\x95-\x97].{4}|\x94.{5})\Z",
    re.DOTALL,
)


def is_after_call(before: bytes) -> bool:
    """Return whether a call ends here. ``before``: the bytes up to the address, :data:`LONGEST` of them."""
    return bool(_RELATIVE.search(before) or _INDIRECT.search(before))


def target_of_call(before: bytes, address: int) -> int | None:
    """Return where the call before ``address`` went; None if its own bytes do not tell."""
    match = _RELATIVE.search(before)
    if match is None:
        return None
    return (address + int.from_bytes(match[1], "little", signed=True)) % (1 << 64)
