"""The instruction that switches address spaces: `mov cr3, rax`, in Intel's order of operands.

Intel SDM volume 2B, MOV (control registers): 0F 22 /3 with a register operand, and a REX prefix
whose B bit selects R8 to R15; ModRM.mod is ignored by the CPU, compilers write 3. Outside 64-bit mode
there is no REX prefix: 40 to 4F are INC and DEC (volume 2A, 2.2.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from cr3scope.dataclass import dataclass

NO_FLUSH = 1 << 63  # of a value moved to CR3 with PCIDs on; the register does not keep it
LONGEST = 4
MOV_CR0_BYTES = 3  # without a prefix
CR3_SWITCH, CR0_SWITCH = "mov cr3", "mov cr0"
_CR3_FIELD = 0x18  # of ModRM, which says CR0 with 0
_REX_B = 1
_REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
              "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")  # fmt: skip
_SWITCHES = re.compile(rb"\x0f\x22([\xc0-\xc7\xd8-\xdf])\Z")
_CODE = re.compile(rb"([\x40-\x4f])?\x0f\x22([\xd8-\xdf])")
_CR0 = re.compile(rb"\x0f\x22([\xc0-\xc7])")
_PLAIN = re.compile(rb"()\x0f\x22([\xd8-\xdf])")


@dataclass(frozen=True, slots=True)
class MovCr3:
    """One occurrence: where it begins, how long it is, and which register it loads."""

    offset: int
    length: int
    register: str
    bits: int = 64  # of the code segment

    @property
    def end(self) -> int:
        """Return the offset of the next instruction."""
        return self.offset + self.length

    @property
    def text(self) -> str:
        """Return ``mov cr3, rax``, with the register as long as the code segment has it: what is loaded stands first."""
        return f"mov cr3, {self.register if self.bits == 64 else f'e{self.register[1:]}'}"

    def loads(self, value: int) -> str:
        """Return ``mov cr3, rax loads 0x1000``: the words of every report about this instruction."""
        return f"{self.text} loads {value:#x}"

    def moved(self, base: int) -> MovCr3:
        """Return the same instruction with ``base`` added to its offset."""
        return MovCr3(base + self.offset, self.length, self.register, self.bits)


def mov_cr3_at(code: bytes, bits: int = 64) -> MovCr3 | None:
    """Return the `mov` to CR3 that ``code`` begins with, None if it begins with another.

    ``bits`` are those of the code segment.
    """
    match = (_CODE if bits == 64 else _PLAIN).match(code)
    return _decoded(match, bits) if match else None


def mov_cr0_at(code: bytes) -> str | None:
    """Return the register that is loaded by a `mov` to CR0 without a prefix with which ``code`` begins; None of other code."""
    match = _CR0.match(code)
    return _REGISTERS[match[1][0] & 7] if match else None


def find_mov_cr3(code: bytes) -> Iterator[MovCr3]:
    """Yield every place whose bytes are a `mov` to CR3; data may look like one.

    A byte before 0F 22 that may be a REX prefix may as well end the instruction before (`add rsp, 0x48`):
    then there are two with the same end, and only one of them is ever at the PC.
    """
    for match in _CODE.finditer(code):
        found = _decoded(match)
        yield found
        if match[1]:
            yield replace(found, offset=found.offset + 1, length=found.length - 1,
                          register=_REGISTERS[match[2][0] & 7])  # fmt: skip


def switch_before(before: bytes) -> str | None:
    """Return ``mov cr3``, or ``mov cr0``, which turns paging on, if ``before``, the bytes up to an address, ends with
    it; None if it ends with another instruction."""
    found = _SWITCHES.search(before)
    if found is None:
        return None
    return CR3_SWITCH if found[1][0] & _CR3_FIELD == _CR3_FIELD else CR0_SWITCH


def _decoded(match: re.Match[bytes], bits: int = 64) -> MovCr3:
    high = (match[1][0] & _REX_B) << 3 if match[1] else 0
    register = _REGISTERS[match[2][0] & 7 | high]
    return MovCr3(match.start(), match.end() - match.start(), register, bits)
