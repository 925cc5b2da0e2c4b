"""Gates, code segments and the TSS in 64-bit mode (Intel SDM volume 3A, 3.4.5, 7.14.1, 9.7)."""

from __future__ import annotations

from dataclasses import dataclass

MOST_LIMIT = 0xFFFF  # of GDTR and IDTR (SDM 3A, 2.4.1)
GATE_BYTES = 16
DESCRIPTOR_BYTES = 8
RPL = 3  # of a selector: bits 1:0
DPL_SHIFT = 5  # of a segment's attributes as a VM's state has them: bits 6:5
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_AVAILABLE_TSS = 9


@dataclass(frozen=True, slots=True)
class Gate:
    """One entry of a 64-bit IDT."""

    offset: int
    selector: int
    ist: int
    type: int  # the S bit and the four type bits
    present: bool

    @classmethod
    def decode(cls, data: bytes) -> Gate:
        low, high = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")
        offset = low & 0xFFFF | (low >> 48 & 0xFFFF) << 16 | (high & 0xFFFFFFFF) << 32
        return cls(
            offset=offset,
            selector=low >> 16 & 0xFFFF,
            ist=low >> 32 & 7,
            type=low >> 40 & 0x1F,
            present=bool(low >> 47 & 1),
        )

    @property
    def is_usable_type(self) -> bool:
        """Return whether long mode takes this type of gate: interrupt and trap gates only; a task gate raises #GP."""
        return self.type in (_INTERRUPT_GATE, _TRAP_GATE)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Eight bytes of a GDT, or the lower half of a longer entry (SDM 3A, figure 3-8)."""

    value: int

    @classmethod
    def decode(cls, data: bytes) -> Descriptor:
        return cls(int.from_bytes(data[:DESCRIPTOR_BYTES], "little"))

    def _bit(self, number: int) -> bool:
        return bool(self.value >> number & 1)

    @property
    def accessed(self) -> bool:
        return self._bit(40)

    @property
    def is_system(self) -> bool:
        return not self._bit(44)

    @property
    def is_code(self) -> bool:
        return not self.is_system and self._bit(43)

    @property
    def takes_reads(self) -> bool:
        return not self.is_system and (not self.is_code or self._bit(41))

    @property
    def takes_writes(self) -> bool:
        return not self.is_system and not self.is_code and self._bit(41)

    @property
    def conforming(self) -> bool:
        return self.is_code and self._bit(42)

    @property
    def dpl(self) -> int:
        return self.value >> 45 & 3

    @property
    def present(self) -> bool:
        return self._bit(47)

    @property
    def is_available_tss(self) -> bool:
        return self.is_system and self.value >> 40 & 0xF == _AVAILABLE_TSS

    @property
    def limit(self) -> int:
        """Return the limit as it stands in the descriptor, in bytes or pages."""
        return self.value & 0xFFFF | self.value >> 32 & 0xF0000

    @property
    def long(self) -> bool:
        """Return the bit L: a code segment of 64-bit mode."""
        return self._bit(53)

    @property
    def default(self) -> bool:
        """Return the bit D/B: 32-bit operands, where L is clear."""
        return self._bit(54)

    @property
    def code_bits(self) -> int:
        """Return 64, 32 or 16: the mode in which this code segment runs."""
        if self.long:
            return 64
        return 32 if self.default else 16

    @property
    def takes_handlers(self) -> bool:
        """Return whether gates may name this segment: a 64-bit code segment of ring 0 (SDM 3A, 7.14.1)."""
        return self.is_code and self.code_bits == 64 and not self.has_reserved_size and not self.dpl

    @property
    def has_reserved_size(self) -> bool:
        """Return whether L and D are both set, which is reserved for a code segment."""
        return self.long and self.default


def tss_base(descriptor: bytes) -> int:
    """Return the base address in a TSS descriptor of 16 bytes."""
    low, high = int.from_bytes(descriptor[:8], "little"), int.from_bytes(descriptor[8:16], "little")
    return (low >> 16 & 0xFFFFFF) | (low >> 56 & 0xFF) << 24 | (high & 0xFFFFFFFF) << 32


def ist_offset(ist: int) -> int:
    """Return the offset in the TSS at which the pointer of IST ``ist`` (1..7) lies."""
    return 0x24 + 8 * (ist - 1)
