"""The frame that a refused iret should have popped, one word above RSP."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode
from cr3scope.x86.descriptors import RPL, Descriptor, in_local_table
from cr3scope.x86.registers import RFLAGS_VIRTUAL_8086

_WIDTHS = {"iretd": 4, "iretq": 8}
_WORDS = 6  # the one too many, RIP, CS, the flags, RSP, SS
_ALWAYS_SET = 1 << 1
_NEVER_SET = ~0x3F7FD7 | RFLAGS_VIRTUAL_8086  # reserved bits (SDM volume 1, 3.4.3), and what is no frame of code with segments


@dataclass(frozen=True, slots=True)
class FrameAbove:
    """``extra``: the word at RSP that is none of the frame's; ``rip``, ``cs`` and ``flags``: what lies above it."""

    extra: int
    rip: int
    cs: int
    flags: int


def frame_above(now: StoppedCpu) -> FrameAbove | None:
    """Return the frame that begins a word above RSP, of a CPU that stands at an iret whose own words are no frame.

    None unless all of that frame is one: RIP can be read, CS is a code segment of its ring, the flags have no reserved bit,
    and with an outer ring SS is a stack of that ring.
    """
    one = decode(now.bytes_at(now.pc, LONGEST), now.pc, now.code_bits) if can_decode() else None
    width = _WIDTHS.get(one.mnemonic) if one is not None else None
    data = b"" if width is None else now.bytes_at(now.stack, _WORDS * width)
    if width is None or len(data) < 4 * width:
        return None
    words = [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]
    extra, rip, cs, flags = words[:4]
    if _is_code(now, rip) or not _is_code(now, cs) or not now.bytes_at(rip, 1):
        return None
    if not flags & _ALWAYS_SET or flags & _NEVER_SET:
        return None
    if cs & RPL and not (len(words) == _WORDS and words[5] & RPL == cs & RPL and _is_stack(now, words[5])):
        return None
    return FrameAbove(extra, rip, cs, flags)


def _descriptor(now: StoppedCpu, selector: int) -> Descriptor | None:
    if selector >> 16 or selector <= RPL or in_local_table(selector):
        return None
    value = now.descriptor(selector)
    return None if value is None else Descriptor(value)


def _is_code(now: StoppedCpu, selector: int) -> bool:
    found = _descriptor(now, selector & 0xFFFF) if selector >> 16 == 0 else None
    return found is not None and found.is_code and found.present and (found.conforming or found.dpl == selector & RPL)


def _is_stack(now: StoppedCpu, selector: int) -> bool:
    found = _descriptor(now, selector)
    return found is not None and found.takes_writes and found.present and found.dpl == selector & RPL
