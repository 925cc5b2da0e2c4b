"""Gates, segments and the TSS (Intel SDM volume 3A, 3.4.5, 7.11, 7.14.1, 9.2)."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.x86.segment import Segment
from cr3scope.x86.word import MASK32

MOST_LIMIT = 0xFFFF  # of GDTR and IDTR (SDM 3A, 2.4.1)
GATE_BYTES = 16  # of a 64-bit IDT
SHORT_GATE_BYTES = 8  # of protected mode's
VECTOR_BYTES = 4  # of real mode's table of far pointers
DESCRIPTOR_BYTES = 8
RPL = 3  # of a selector: bits 1:0
_LOCAL = 4  # TI
DPL_SHIFT = 5  # of a segment's attributes as a VM's state has them: bits 6:5
TASK_GATE = 5
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_SMALL_GATES = (6, 7)  # interrupt and trap gates of 16 bits
_AVAILABLE_TSS, _BUSY_TSS = 9, 11
_AVAILABLE_SMALL_TSS, _BUSY_SMALL_TSS = 1, 3
_PAGES = 1 << 55  # G: the limit counts pages
TSS_BYTES = 104  # at least (SDM 3A, 9.2.1)
STACK0_AT = 4  # of a TSS: RSP0 in long mode, else ESP0 (SDM 3A, figures 9-2 and 9-11)
_ACCESSED, _BUSY = 1 << 40, 1 << 41


@dataclass(frozen=True, slots=True)
class Gate:
    """One entry of an IDT."""

    offset: int
    selector: int
    ist: int
    type: int  # the S bit and the four type bits
    present: bool
    dpl: int = 0
    in_long_mode: bool = True

    @classmethod
    def decode(cls, data: bytes) -> Gate:
        """Return the gate of long mode that 16 bytes are, of protected mode if there are 8 (SDM 3A, figures 7-2 and 7-8)."""
        low, high = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")
        offset = low & 0xFFFF | (low >> 48 & 0xFFFF) << 16 | (high & MASK32) << 32
        return cls(
            offset=offset,
            selector=low >> 16 & 0xFFFF,
            ist=low >> 32 & 7 if len(data) > SHORT_GATE_BYTES else 0,
            type=low >> 40 & 0x1F,
            present=bool(low >> 47 & 1),
            dpl=low >> 45 & 3,
            in_long_mode=len(data) > SHORT_GATE_BYTES,
        )

    @property
    def is_usable_type(self) -> bool:
        """Return whether the mode takes this type of gate: long mode interrupt and trap gates of 64 bits only."""
        if self.type in (_INTERRUPT_GATE, _TRAP_GATE):
            return True
        return not self.in_long_mode and (self.is_task or self.is_small)

    @property
    def is_task(self) -> bool:
        """Return whether it is a task gate, which has a selector of a TSS and no offset."""
        return self.type == TASK_GATE

    @property
    def is_small(self) -> bool:
        """Return whether it is a 16-bit gate: words of two bytes are pushed, and the offset's upper half is unused."""
        return self.type in _SMALL_GATES

    @property
    def target(self) -> int:
        """Return the offset of the handler, as wide as this gate has it."""
        return self.offset & 0xFFFF if self.is_small else self.offset


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
    def cpu_sets(self) -> int:
        """Return the bit that the CPU sets by itself when it loads the segment: accessed, of a TSS busy (SDM 3A, 3.4.5.1 and 9.2.2)."""
        return _BUSY if self.is_system else _ACCESSED

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
        return self.is_system and self.system_type == _AVAILABLE_TSS

    @property
    def is_busy_tss(self) -> bool:
        """Return whether it is a TSS, but for one of 16 bits, that a CPU has loaded."""
        return self.is_system and self.system_type == _BUSY_TSS

    @property
    def is_available_small_tss(self) -> bool:
        """Return whether it is a TSS of 16 bits that is not busy, which long mode does not have."""
        return self.is_system and self.system_type == _AVAILABLE_SMALL_TSS

    @property
    def system_type(self) -> int:
        """Return the four type bits."""
        return self.value >> 40 & 0xF

    @property
    def is_small_tss(self) -> bool:
        """Return whether it is a TSS of 16 bits, available or busy."""
        return self.is_system and self.system_type in (_AVAILABLE_SMALL_TSS, _BUSY_SMALL_TSS)

    @property
    def limit(self) -> int:
        """Return the limit as it stands in the descriptor, in bytes or pages."""
        return self.value & 0xFFFF | self.value >> 32 & 0xF0000

    @property
    def last(self) -> int:
        """Return the limit in bytes (SDM 3A, 3.4.5, G)."""
        return self.limit << 12 | 0xFFF if self.value & _PAGES else self.limit

    @property
    def base(self) -> int:
        """Return the base, of which a longer entry has an upper half behind it."""
        return self.value >> 16 & 0xFFFFFF | self.value >> 56 << 24

    def segment(self, selector: int) -> Segment:
        """Return what a segment register holds that was loaded with it."""
        return Segment(selector, self.base, self.last, self.value >> 32)

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
        return self.code_bits_before_long_mode

    @property
    def code_bits_before_long_mode(self) -> int:
        """Return 32 or 16: the bit L counts in long mode alone."""
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
    return Descriptor.decode(descriptor).base | int.from_bytes(descriptor[8:12], "little") << 32


def ist_offset(ist: int) -> int:
    """Return the offset in the TSS at which the pointer of IST ``ist`` (1..7) lies."""
    return 0x24 + 8 * (ist - 1)


def stack_offset(dpl: int, is_small: bool) -> int:
    """Return the offset in the TSS at which the stack of a privilege level lies: SP and SS (SDM 3A, figures 9-2 and 9-10)."""
    return 2 + 4 * dpl if is_small else 4 + 8 * dpl


def descriptor_offset(selector: int) -> int:
    """Return the offset of the selector's descriptor in its table."""
    return selector & -DESCRIPTOR_BYTES


def is_null(selector: int) -> bool:
    """Return whether the selector names no descriptor."""
    return selector & ~RPL == 0


def in_local_table(selector: int) -> bool:
    """Return whether the descriptor lies in the LDT (SDM 3A, 3.4.2)."""
    return bool(selector & _LOCAL)
