"""Gates, code segments and the TSS in 64-bit mode (Intel SDM volume 3A, 3.4.5, 7.14.1, 9.7)."""

from __future__ import annotations

from dataclasses import dataclass

GATE_BYTES = 16
DESCRIPTOR_BYTES = 8
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF


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
        """Long mode takes interrupt and trap gates only; a task gate is a #GP."""
        return self.type in (_INTERRUPT_GATE, _TRAP_GATE)


@dataclass(frozen=True, slots=True)
class Segment:
    """What delivery looks at in a GDT descriptor."""

    code: bool
    long_mode: bool  # L = 1 and D = 0
    dpl: int
    present: bool

    @classmethod
    def decode(cls, data: bytes) -> Segment:
        value = int.from_bytes(data[:8], "little")
        return cls(
            code=value >> 43 & 3 == 3,
            long_mode=value >> 53 & 3 == 1,
            dpl=value >> 45 & 3,
            present=bool(value >> 47 & 1),
        )


def tss_base(descriptor: bytes) -> int:
    """Base address in a 16-byte TSS descriptor."""
    low, high = int.from_bytes(descriptor[:8], "little"), int.from_bytes(descriptor[8:16], "little")
    return (low >> 16 & 0xFFFFFF) | (low >> 56 & 0xFF) << 24 | (high & 0xFFFFFFFF) << 32


def ist_offset(ist: int) -> int:
    """Where the TSS holds the pointer of IST ``ist`` (1..7)."""
    return 0x24 + 8 * (ist - 1)
