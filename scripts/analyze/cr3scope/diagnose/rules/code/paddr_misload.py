"""The kernel in memory is not the kernel in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.input.capture.records import Boot, LoadedRecord
from cr3scope.message import Hex, Message, message
from cr3scope.x86.access import AccessKind
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    for loaded in boot.loaded:
        virt = loaded.differs
        if virt is None or _is_sled(boot, loaded):
            continue
        near = [elf for elf in boot.elfs if elf.name == loaded.of and _same_page(elf.entry, virt)]
        finding = RULE.finding(_title(loaded, virt, near[0].entry if near else None), *_frame(boot, loaded, virt))
        yield replace(finding, step=_first_fetch(boot, virt) if near else None)


def _title(loaded: LoadedRecord, virt: int, entry: int | None) -> Message:
    """``entry``: the entry point, if it lies in the page that differs."""
    differs = message(
        "segment {segment_index} of {file} is not what its file holds: first at {virt}",
        segment_index=loaded.index, file=loaded.of, virt=Hex(virt),
    )  # fmt: skip
    if entry is None:
        return differs
    if entry == virt:
        return message("{differs}, at the entry point", differs=differs)
    return message("{differs}, in the page of the entry point {entry_point}", differs=differs, entry_point=Hex(entry))


def _first_fetch(boot: Boot, virt: int) -> int | None:
    """The step that executes the wrong bytes first."""
    fetches = (s.step for s in boot.plan if s.kind is AccessKind.FETCH and _same_page(s.virt, virt))
    return next(fetches, None)


def _same_page(one: int, other: int) -> bool:
    return one // PAGE_BYTES == other // PAGE_BYTES


def _is_sled(boot: Boot, loaded: LoadedRecord) -> bool:
    """Whether the entry lies in this segment and holds zeros alone: wrong-entry tells that."""
    segments = [s for s in boot.segments if s.of == loaded.of and s.index == loaded.index]
    return any(
        name == "entry" and memory.data and not any(memory.data)
        and any(segment.virt <= memory.virt <= segment.last for segment in segments)
        for (name, _), memory in boot.memories.items()
    )  # fmt: skip


def _frame(boot: Boot, loaded: LoadedRecord, virt: int) -> Iterator[Message]:
    """Where the segment was loaded, and what the memory map says of that memory."""
    for segment in boot.segments:
        if (segment.of, segment.index) == (loaded.of, loaded.index) and segment.phys is not None and virt >= segment.virt:
            phys = segment.phys + virt - segment.virt
            kind = next((d.type for d in boot.memory_map if d.first <= phys <= d.last), None)
            if kind is not None:
                yield message(
                    "it was loaded at {phys}, memory of type {memory_type}", phys=Hex(phys), memory_type=kind
                )
            elif boot.memory_map:
                yield message("it was loaded at {phys}, which the memory map does not name", phys=Hex(phys))
            else:
                yield message("it was loaded at {phys}", phys=Hex(phys))
            return


RULE = Rule(
    id="paddr-misload",
    title="a segment in memory differs from its file",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The segment was copied to memory that is not there, that another owner uses, or that "
        "something wrote to afterwards: AllocateAddress at p_paddr whose status nobody looked at, "
        "two segments one over the other, a copy of memsz or of the wrong offset. The CPU executes "
        "what it finds."
    ),
    shows=(
        "v=06 or v=0d in the kernel's first bytes, or wild behaviour; memory that is absent reads "
        "FF."
    ),
    fix="Check the allocation's status; load to any free frames and map them at p_vaddr.",
    manual="ELF gABI, program header; UEFI 2.10, 7.2.1 (AllocateAddress)",
    check=_check,
)
