"""The boot info that a kernel is handed (``struct handoff`` of handoff.h), in a guest's memory."""

from __future__ import annotations

import struct

from cr3scope.dataclass import dataclass
from cr3scope.x86.entry import PAGE_BYTES

MAGIC = b"CR3SCOPE"
_INFO_VERSION = 1
_HEAD = struct.Struct("<8sIIIIQ")  # magic, version, size, levels, CPUs, root
_RANGE = struct.Struct("<QQQ")  # virtual, physical, bytes
_RANGES_AT = {"boot info": 48, "page tables": 72, "initrd": 96, "memory map": 120, "frame buffer": 168}
_WINDOW, _WINDOW_AT = struct.Struct("<Q"), 32
_MAP, _MAP_AT = struct.Struct("<QI"), 144  # bytes of the memory map that are filled, stride of its descriptors
_SEGMENT_COUNT_AT, _STACKS_AT, _SEGMENTS_AT = 164, 208, 248
_STACKS = struct.Struct("<QQQQQ")  # virtual, stride, bytes of the guard, usable bytes, physical
_SEGMENT = struct.Struct("<QQQQII")  # virtual, physical, filesz, memsz, flags
_MOST_SEGMENTS, _MOST_STACKS = 8, 1024
BYTES = 728


@dataclass(frozen=True, slots=True)
class HandedRange:
    """Memory that is mapped for the kernel; ``size`` is never 0."""

    name: str
    virt: int
    phys: int
    size: int

    @property
    def last(self) -> int:
        return self.virt + self.size - 1


@dataclass(frozen=True, slots=True)
class HandedSegment:
    """One segment of the kernel, and where it was loaded."""

    virt: int
    phys: int
    filesz: int
    memsz: int
    flags: int


@dataclass(frozen=True, slots=True)
class BootInfo:
    """What a kernel was told of its address space. ``guards`` have no physical address that counts; ``recursive_virt``
    is where the window of a recursive slot begins, 0 where there is none."""

    virt: int
    levels: int
    root: int
    recursive_virt: int
    memory_map_used: int
    descriptor_size: int
    ranges: tuple[HandedRange, ...]
    stacks: tuple[HandedRange, ...]
    guards: tuple[HandedRange, ...]
    segments: tuple[HandedSegment, ...]


def read_boot_info(data: bytes) -> BootInfo | None:
    """Return the boot info that these bytes are; None if they are none, or one of another version, or damaged."""
    if len(data) < BYTES or not data.startswith(MAGIC):
        return None
    _, version, size, levels, cpus, root = _HEAD.unpack_from(data)
    ranges = [HandedRange(name, *_RANGE.unpack_from(data, at)) for name, at in _RANGES_AT.items()]
    stacks, stride, guard, usable, stacks_phys = _STACKS.unpack_from(data, _STACKS_AT)
    (count,) = struct.unpack_from("<I", data, _SEGMENT_COUNT_AT)
    segments = [HandedSegment(*_SEGMENT.unpack_from(data, _SEGMENTS_AT + n * _SEGMENT.size)[:5])
                for n in range(min(count, _MOST_SEGMENTS))]  # fmt: skip
    is_whole = (
        version == _INFO_VERSION and size >= BYTES and levels in (4, 5) and root % PAGE_BYTES == 0
        and guard + usable == stride and count <= _MOST_SEGMENTS and cpus <= _MOST_STACKS and ranges[0].size >= size
    )  # fmt: skip
    if not is_whole:
        return None
    (window,) = _WINDOW.unpack_from(data, _WINDOW_AT)
    used, descriptor_size = _MAP.unpack_from(data, _MAP_AT)
    return BootInfo(
        ranges[0].virt, levels, root, window, used, descriptor_size, tuple(one for one in ranges if one.size),
        tuple(HandedRange(f"stack {n}", stacks + n * stride + guard, stacks_phys + n * usable, usable)
              for n in range(cpus) if usable),
        tuple(HandedRange(f"stack {n} guard", stacks + n * stride, 0, guard) for n in range(cpus) if guard),
        tuple(segments),
    )  # fmt: skip
