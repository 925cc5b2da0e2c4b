"""A segment register with what the CPU keeps of its descriptor (Intel SDM volume 3A, 3.4.3 and 6.3)."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.x86.word import MASK32

_TYPE_CODE, _TYPE_DOWN, _TYPE_WRITE = 1 << 11, 1 << 10, 1 << 9  # DOWN of a data segment; conforming of code
_NOT_SYSTEM, _PRESENT = 1 << 12, 1 << 15
_LONG, _DEFAULT = 1 << 21, 1 << 22
_DPL_SHIFT = 13
_SYSTEM_TYPE_SHIFT = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """A selector with what the CPU keeps of its descriptor; of GDTR and IDTR base and limit alone.

    ``limit`` is in bytes, ``flags`` are the descriptor's upper half, as QEMU has them: type, DPL, P, L, D/B.
    """

    selector: int = 0
    base: int = 0
    limit: int = 0
    flags: int = 0

    @property
    def is_code(self) -> bool:
        return bool(self.flags & _TYPE_CODE)

    @property
    def takes_writes(self) -> bool:
        return not self.is_code and bool(self.flags & _TYPE_WRITE)

    @property
    def takes_reads(self) -> bool:
        return not self.is_code or bool(self.flags & _TYPE_WRITE)

    @property
    def is_big(self) -> bool:
        """Return the bit D/B: 32-bit offsets (SDM 3A, 3.4.5)."""
        return bool(self.flags & _DEFAULT)

    @property
    def dpl(self) -> int:
        return self.flags >> _DPL_SHIFT & 3

    @property
    def system_type(self) -> int:
        """Return the four type bits, of a TSS or LDT (SDM 3A, table 3-2)."""
        return self.flags >> _SYSTEM_TYPE_SHIFT & 0xF

    @property
    def code_bits(self) -> int:
        """Return 64, 32 or 16: the mode in which this code segment runs."""
        if self.flags & _LONG:
            return 64
        return 32 if self.is_big else 16

    def holds(self, offset: int, width: int) -> bool:
        """Return whether ``width`` bytes at an offset lie within the limit (SDM 3A, 6.3).

        An expand-down segment holds what lies above its limit, up to FFFFh or FFFFFFFFh by its bit B.
        """
        last = offset + width - 1
        if not self.is_code and self.flags & _TYPE_DOWN:
            return offset > self.limit and last <= (MASK32 if self.is_big else 0xFFFF)
        return last <= self.limit

    def linear(self, offset: int) -> int:
        """Return the linear address of an offset, outside 64-bit mode (SDM 3A, 3.4: base + offset, 32 bits)."""
        return self.base + offset & MASK32


def code_flags(bits: int) -> int:
    """Return a code segment's flags, as far as they tell its size."""
    return {64: _LONG, 32: _DEFAULT}.get(bits, 0)


def in_real_mode(selector: int) -> Segment:
    """Return a segment as real mode loads it: 16 * selector, 64 KiB (SDM 3A, 22.1.1)."""
    return Segment(selector, selector << 4, 0xFFFF, _PRESENT | _NOT_SYSTEM | _TYPE_WRITE)
