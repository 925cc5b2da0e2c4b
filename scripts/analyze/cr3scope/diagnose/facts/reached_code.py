"""The code of an image that is reached from its entry by jumps and calls whose target stands in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cr3scope import limits
from cr3scope.images.efi_file import EfiFile
from cr3scope.x86.decode.instruction import decode_all
from cr3scope.x86.decode.memory_operands import plain_name

_PIECE = 256  # bytes that are decoded at once
_NO_WAY_ON = ("ret", "jmp", "ljmp", "ud2", "hlt", "iretq")


def reached(efi: EfiFile) -> Iterator[Any]:
    """Yield each instruction once, within a budget; addresses count from the image's base."""
    waiting, seen, left = [efi.entry], set[int](), limits.LINT_INSTRUCTIONS
    while waiting and left > 0:
        at: int | None = waiting.pop()
        while at is not None and at not in seen:
            after = None
            for one in decode_all(efi.bytes_at(at, _PIECE), at):
                left -= 1
                if one.address in seen or left < 0:
                    break
                seen.add(one.address)
                yield one
                target = _target(one)
                if target is not None:
                    waiting.append(target)
                after = None if plain_name(one) in _NO_WAY_ON else one.address + one.size
                if after is None:
                    break
            at = after


def _target(one: Any) -> int | None:
    from capstone import x86

    if not one.mnemonic.startswith(("j", "call", "loop")) or not one.operands or one.operands[0].type != x86.X86_OP_IMM:
        return None
    return int(one.operands[0].imm)
