"""What addresses are for in a guest without a trace: from the user's ELF files, and from the boot info in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.facts.loaded_images import loaded_images
from cr3scope.images.boot_info import BYTES, MAGIC, BootInfo, HandedRange, HandedSegment, read_boot_info
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.elf_twin import PF_W, PF_X, ElfTwin, Segment
from cr3scope.images.kernel_notes import Base, DeclaredAccess
from cr3scope.input.capture.records import (
    ElfRecord, ImageRecord, LoadedRecord, MapRecord, MemoryContents, MemoryDescriptor, RegionRecord, SegmentRecord,
    TableRecord,
)  # fmt: skip
from cr3scope.model.known import Known
from cr3scope.paging.walk import Translation, access as reach
from cr3scope.target.stopped_cpu import GENERAL, StoppedCpu
from cr3scope.target.switch import new_cr3
from cr3scope.text import printable
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.decode.instruction import can_decode, decode, written
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.exceptions import PAGE_FAULT
from cr3scope.x86.mov_cr3 import find_mov_cr3
from cr3scope.x86.word import MASK64, QWORD

_STRAIGHT = 64  # bytes behind a mov cr3 that may lie before what is still its own code
_LEAVE = ("j", "call", "ret", "iret", "sys", "int", "loop", "lcall", "ljmp")
_DESCRIPTOR, _MOST_MAP_BYTES = struct.Struct("<IxxxxQxxxxxxxxQQ"), 1 << 20  # EFI_MEMORY_DESCRIPTOR
_PIECE, _MOST_SEARCHED = 16 << 20, 1 << 30  # bytes of RAM
_WORDS = PAGE_BYTES // QWORD
_ENTRY_BYTES = 64
_BASE_ROLES = {
    Base.INFO: "boot-info", Base.FRAMEBUFFER: "framebuffer", Base.FRAMEBUFFER_END: "framebuffer",
    Base.INITRD: "initrd", Base.MEMORY_MAP: "memory-map",
}  # fmt: skip
_RANGE_ROLES = {
    "boot info": "boot-info", "page tables": "tables", "initrd": "initrd", "memory map": "memory-map",
    "frame buffer": "framebuffer",
}  # fmt: skip


def known_of(
    cpu: StoppedCpu, fault: Fault | None, at_fault: AtFault, files: Sequence[ElfFile], firmware_cr3: int | None
) -> Known:
    """Return what the files and the memory of a dead guest tell.

    ``fault`` is what it died of, ``at_fault`` has the registers of then, as far as they are known. ``files`` that can
    run at one place only are kernels. UnusableInput if one is damaged; QmpError if QEMU stops answering.
    """
    twins = [twin for file in files if not (twin := ElfTwin(file.path)).is_relocatable and file.base is None]
    declared = {access.rip: access for twin in twins for access in twin.declared_accesses()}
    under = cpu if fault is None or fault.cr3 is None else cpu.under(fault.cr3)
    registers = at_fault.registers
    info = _boot_info(under, registers, is_agreed=bool(declared))
    known = replace(_of_files(twins, declared, info), firmware_cr3=firmware_cr3)
    if info is not None:
        known = _with_info(known, info)
    return known if fault is None else _at_fault(known, under, fault, registers, twins, declared, info)


def known_at_switch(cpu: StoppedCpu, files: Sequence[ElfFile]) -> Known | None:
    """Return what the files and the memory tell of a CPU that is about to switch; None without a boot info.

    Errors as :func:`known_of`.
    """
    twins = [twin for file in files if not (twin := ElfTwin(file.path)).is_relocatable and file.base is None]
    under = cpu.under(new_cr3(cpu))
    info = _boot_info(under, cpu.registers, is_agreed=True)
    if info is None:
        return None
    known = _with_info(_of_files(twins, {}, info), info)
    window = (RegionRecord(0, "recursive window", "recursive", info.recursive_virt, info.recursive_virt, None),)
    return replace(
        known, loaded=tuple(_loaded(under, twins, known)), memories=tuple(_entries(under, known)),
        images=tuple(_images(cpu)), memory_map=tuple(_memory_map(under, info)),
        regions=(*known.regions, *(window if info.recursive_virt else ())),
    )  # fmt: skip


def _images(cpu: StoppedCpu) -> Iterator[ImageRecord]:
    """Those that the firmware loaded from a file system."""
    for loaded in loaded_images(cpu):
        image, header = loaded.image, loaded.header
        code = [one for one in header.sections if one.executable] if header else []
        if image.name is not None and code:
            first, last = min(one.offset for one in code), max(one.offset + one.size for one in code)
            name = printable(image.name)
            yield ImageRecord(0, name, image.base, image.size, None, first, last - first, None)


def _memory_map(under: StoppedCpu, info: BootInfo) -> Iterator[MemoryDescriptor]:
    """The firmware's, as the boot info tells its stride (UEFI 2.10, 7.2.3)."""
    place = next((one for one in info.ranges if one.name == "memory map"), None)
    stride, used = info.descriptor_size, info.memory_map_used
    if place is None or stride < _DESCRIPTOR.size or not 0 < used <= min(place.size, _MOST_MAP_BYTES):
        return
    data = under.physical(place.phys, used)
    for at in range(0, len(data) - _DESCRIPTOR.size + 1, stride):
        kind, first, pages, attributes = _DESCRIPTOR.unpack_from(data, at)
        yield MemoryDescriptor(first, first + pages * PAGE_BYTES - 1, kind, attributes)


def _of_files(twins: Iterable[ElfTwin], declared: Mapping[int, DeclaredAccess], info: BootInfo | None) -> Known:
    elfs, segments = [], []
    for twin in twins:
        name = printable(twin.path.name)
        elfs.append(ElfRecord(0, name, twin.entry, 0, 0, None))
        segments += [_segment(name, one, info) for one in twin.segments()]
    roles = {rip: _BASE_ROLES[one.base] for rip, one in declared.items() if one.base in _BASE_ROLES}
    return Known(elfs=tuple(elfs), segments=tuple(segments), roles=roles)


def _segment(name: str, one: Segment, info: BootInfo | None) -> SegmentRecord:
    loaded: Iterable[HandedSegment] = info.segments if info is not None else ()
    phys = next((each.phys for each in loaded if each.virt == one.virt), None)
    flags = f"r{'w' if one.flags & PF_W else '-'}{'x' if one.flags & PF_X else '-'}"
    last = one.virt + max(one.memsz, 1) - 1
    return SegmentRecord(0, name, one.number, one.virt, last, phys, one.filesz, one.memsz, one.offset, flags)


def _with_info(known: Known, info: BootInfo) -> Known:
    ranges = [_map(one, _RANGE_ROLES[one.name]) for one in info.ranges]
    stacks = [_map(one, "stack") for one in info.stacks]
    guards = [RegionRecord(0, one.name, "guard", one.virt, one.last, None) for one in info.guards]
    return replace(known, maps=(*ranges, *stacks), regions=tuple(guards))


def _map(one: HandedRange, role: str) -> MapRecord:
    rights = "rw-" if role in ("stack", "framebuffer") else "r--"
    return MapRecord(0, one.name, role, one.virt, one.last, one.phys, rights, PAGE_BYTES, "", 0)


def _at_fault(
    known: Known, under: StoppedCpu, fault: Fault, registers: Mapping[str, int],
    twins: Sequence[ElfTwin], declared: Mapping[int, DeclaredAccess], info: BootInfo | None,
) -> Known:  # fmt: skip
    """With what the registers tell: of the switch, or of the kernel's entry."""
    if fault.rip is None or not registers:
        return known
    own = {name: registers[name.upper()] for name in GENERAL if name.upper() in registers}
    if _is_behind_switch(under, fault.rip):
        known = replace(known, at_switch={"rsp": own["rsp"]} if "rsp" in own else {})
        tops = (TableRecord(0, info.root, info.levels, 0, 0),) if info is not None else ()
        return replace(known, tables=tops)
    access = declared.get(fault.rip)
    if access is not None and access.base is Base.INFO and fault.vector == PAGE_FAULT and fault.cr2 is not None:
        handed = fault.cr2 - access.offset & MASK64
        if info is not None or not handed:  # else the address is as good as any
            known = replace(known, roles={})
        return replace(known, at_switch={**own, "rdi": handed})
    ends = {one.last + 1 for one in info.stacks} if info is not None else set()
    if info is None or own.get("rdi") != info.virt or own.get("rsp", 0) + QWORD not in ends:
        return known
    if fault.cr2 == fault.rip and any(elf.entry == fault.rip for elf in known.elfs):
        return known  # not one instruction was executed: the tables alone are to blame
    fresh = replace(
        known, is_fresh=True, loaded=tuple(_loaded(under, twins, known)), memories=tuple(_entries(under, known))
    )
    # Who runs on from page to page was not sent there.
    sent = fault.cr2 == fault.rip and not _may_execute(under, fault.rip - 1)
    return replace(fresh, entered=fault.rip) if sent else fresh


def _may_execute(under: StoppedCpu, virt: int) -> bool:
    return isinstance(reach(under, under.cpu, virt & MASK64, AccessKind.FETCH, platform=under.platform), Translation)


def _loaded(under: StoppedCpu, twins: Iterable[ElfTwin], known: Known) -> Iterator[LoadedRecord]:
    """What lies where each segment was loaded, beside its file."""
    places = {(one.of, one.index): one.phys for one in known.segments}
    sizes = {(one.of, one.index): one.memsz for one in known.segments}
    ram = tuple(under.ram())
    for twin in twins:
        name = printable(twin.path.name)
        for number, start, data in twin.contents():
            phys, size = places.get((name, number)), sizes[name, number]
            if phys is None or not data or size > _MOST_SEARCHED or not _is_ram(ram, phys, phys + size - 1):
                continue
            held = under.physical(phys, size)
            differs = _first_difference(held, data)
            dirty = len(held) - len(held[len(data) :].lstrip(b"\0"))
            if len(held) == size:
                yield LoadedRecord(
                    0, name, number, None if differs is None else start + differs,
                    None if dirty == len(held) else start + dirty,
                )  # fmt: skip


def _is_ram(ram: Sequence[tuple[int, int]], first: int, last: int) -> bool:
    """Whether all of it is, where anybody tells: a file may claim any size, and a boot info any place."""
    return not ram or any(start <= first and last <= end for start, end in ram)


def _first_difference(held: bytes, data: bytes) -> int | None:
    size = min(len(held), len(data))
    differs = np.flatnonzero(np.frombuffer(held[:size], np.uint8) != np.frombuffer(data[:size], np.uint8))
    return int(differs[0]) if differs.size else None


def _entries(under: StoppedCpu, known: Known) -> Iterator[MemoryContents]:
    for elf in known.elfs:
        data = under.bytes_at(elf.entry, _ENTRY_BYTES)
        if data:
            yield MemoryContents(0, "entry", "handoff", elf.entry, data)


def _is_behind_switch(under: StoppedCpu, rip: int) -> bool:
    """Whether a straight line leads from a `mov cr3` to RIP, on which RSP stays as it was.

    Looked at is memory as loaders see it, where virtual is physical.
    """
    if rip < _STRAIGHT or rip >> under.phys_bits or not can_decode():
        return False
    code = under.physical(rip - _STRAIGHT, _STRAIGHT)
    return any(_leads_to_end(code, found.end) for found in find_mov_cr3(code))


def _leads_to_end(code: bytes, at: int) -> bool:
    while at < len(code):
        one = decode(code[at:], at)
        if one is None or one.mnemonic.startswith(_LEAVE) or "rsp" in written(one):
            return False
        at += one.size
    return at == len(code)


def _boot_info(under: StoppedCpu, registers: Mapping[str, int], is_agreed: bool) -> BootInfo | None:
    """The boot info that a register points to; else, where a file says that there is one, the one in memory."""
    for name in GENERAL:
        virt = registers.get(name.upper())
        info = read_boot_info(under.bytes_at(virt, BYTES)) if virt else None
        if info is not None and info.virt == virt:
            return info
    found = list(_search(under)) if is_agreed else []
    return found[0] if len(found) == 1 else None


def _search(under: StoppedCpu) -> Iterator[BootInfo]:
    """Every page that begins with a boot info which says that it lies there."""
    magic, left = int.from_bytes(MAGIC, "little"), _MOST_SEARCHED
    for first, last in sorted(under.ram()):
        for start in range(first + -first % PAGE_BYTES, last + 1, _PIECE):
            size = min(_PIECE, last + 1 - start) & -PAGE_BYTES
            left -= size
            if left < 0:
                return
            words = np.frombuffer(under.physical(start, size)[: size & -PAGE_BYTES], dtype=np.uint64)
            for page in np.flatnonzero(words[::_WORDS] == magic):
                phys = start + int(page) * PAGE_BYTES
                info = read_boot_info(under.physical(phys, BYTES))
                if info is not None and info.ranges[0].phys == phys:
                    yield info
