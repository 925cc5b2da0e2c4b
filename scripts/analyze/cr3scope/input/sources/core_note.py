"""The notes of an ELF core that tell a CPU's registers.

QEMU's own is struct QEMUCPUState (its target/i386/arch_dump.c), version 1: version and size, 18 registers
of 8 bytes, 10 segments of 24, CR0 to CR4. It lacks EFER and MAXPHYADDR; a core that `cr3scope save` wrote
has a second note, in text, and a third with the trace of the boot, if one was given.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import field

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import MOST_LIMIT
from cr3scope.x86.segment import Segment

QEMU_NOTE, OWN_NOTE, TRACE_NOTE = "QEMU", "cr3scope", "cr3scope-trace"
_HEAD = struct.Struct("<II")
_VERSION = 1
_GENERAL = ("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RSP", "RBP", "R8", "R9", "R10", "R11", "R12", "R13",
            "R14", "R15", "RIP", "RFL")  # fmt: skip
_REGISTERS = struct.Struct(f"<{len(_GENERAL)}Q")
_SEGMENTS = ("CS", "DS", "ES", "FS", "GS", "SS", "LDT", "TR", "GDT", "IDT")
_TABLES = ("GDT", "IDT")
_SEGMENT = struct.Struct("<IIIIQ")  # selector, limit, flags, padding, base
_CONTROL = struct.Struct("<5Q")
_AFTER_CONTROL = 8  # kernel_gs_base
_SIZE = _HEAD.size + _REGISTERS.size + len(_SEGMENTS) * _SEGMENT.size + _CONTROL.size + _AFTER_CONTROL


@dataclass(frozen=True, slots=True)
class CoreCpu:
    """One CPU's note. ``registers`` are the general ones, RIP, RFL and CR0 to CR4."""

    registers: Mapping[str, int]
    segments: Mapping[str, Segment] = field(default_factory=dict)

    @property
    def cpu(self) -> CpuState:
        """Return the state that decides about paging; EFER and PAT are those that :class:`CpuState` assumes."""
        get = self.registers.get
        return CpuState(cr3=get("CR3", 0), cr0=get("CR0", 0), cr4=get("CR4", 0))

    @property
    def code_bits(self) -> int:
        """Return 64, 32 or 16: the mode that CS tells."""
        return self.segments["CS"].code_bits if "CS" in self.segments else 64


def read_cpu(note: bytes) -> CoreCpu | str:
    """Return the CPU of QEMU's note; words for why not, if it is of another version, cut, or no CPU can be like that."""
    if len(note) < _HEAD.size:
        return f"the note has {len(note)} bytes"
    version = _HEAD.unpack_from(note)[0]
    if version != _VERSION:
        return f"the note is of version {version}, not {_VERSION}"
    if len(note) < _SIZE - _AFTER_CONTROL:
        return f"the note has {len(note)} bytes, not {_SIZE}"
    registers = dict(zip(_GENERAL, _REGISTERS.unpack_from(note, _HEAD.size), strict=True))
    at = _HEAD.size + _REGISTERS.size
    segments = {}
    for name in _SEGMENTS:
        selector, limit, flags, _, base = _SEGMENT.unpack_from(note, at)
        segments[name] = Segment(selector, base, limit, flags)
        at += _SEGMENT.size
        if name in _TABLES and limit > MOST_LIMIT:
            return f"the limit of its {name} is {limit:#x}: it has 16 bits"
    control = _CONTROL.unpack_from(note, at)
    registers |= {f"CR{number}": value for number, value in enumerate(control)}
    return CoreCpu(registers, segments)


def write_cpu(one: CoreCpu) -> bytes:
    """Return a CPU as a note of QEMU's."""
    registers = one.registers
    return b"".join([
        _HEAD.pack(_VERSION, _SIZE),
        _REGISTERS.pack(*(registers.get(name, 0) for name in _GENERAL)),
        *(_packed(one.segments.get(name, Segment())) for name in _SEGMENTS),
        _CONTROL.pack(*(registers.get(f"CR{number}", 0) for number in range(5))),
        bytes(_AFTER_CONTROL),
    ])  # fmt: skip


def read_own(note: bytes) -> dict[str, str] | str:
    """Return words by key; words for why not, if it has a key twice, with two values. What is no pair is left out."""
    if len(note) > limits.CORE_WORDS_BYTES:
        return f"it has {len(note)} bytes: at most {limits.CORE_WORDS_BYTES} are read"
    text = note.rstrip(b"\0").decode("ascii", errors="replace")
    found: dict[str, str] = {}
    for key, equals, value in (word.partition("=") for word in text.split()):
        if equals and found.setdefault(key, value) != value:
            return f"it tells two values of {key}"
    return found


def write_own(words: Mapping[str, str]) -> bytes:
    """Return the second note's contents."""
    return " ".join(f"{key}={value}" for key, value in words.items()).encode("ascii")


def _packed(segment: Segment) -> bytes:
    return _SEGMENT.pack(segment.selector, segment.limit, segment.flags, 0, segment.base)
