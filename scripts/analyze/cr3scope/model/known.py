"""What is known of a guest without a trace beside its registers and tables: from ELF files and from memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import (
    ElfRecord, ImageRecord, LoadedRecord, MapRecord, MemoryContents, MemoryDescriptor, RegionRecord, SegmentRecord,
    TableRecord,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """What addresses are for, in the records that a trace would have.

    ``roles``: by the address of an instruction, what it accesses first, as its file declares it. ``at_switch``: the
    registers that are as the switch left them, none where the CPU has gone on. ``is_fresh``: nothing of the kernel has
    run, so that memory is as the loader left it; ``loaded`` and ``memories`` are of then. ``entered``: where the CPU
    was sent with all that the kernel's entry is handed; None where nobody can tell. ``firmware_cr3``: under which
    tables the firmware took its interrupts.
    """

    images: tuple[ImageRecord, ...] = ()
    elfs: tuple[ElfRecord, ...] = ()
    segments: tuple[SegmentRecord, ...] = ()
    maps: tuple[MapRecord, ...] = ()
    regions: tuple[RegionRecord, ...] = ()
    tables: tuple[TableRecord, ...] = ()
    memory_map: tuple[MemoryDescriptor, ...] = ()
    roles: Mapping[int, str] = field(default_factory=dict)
    at_switch: Mapping[str, int] = field(default_factory=dict)
    is_fresh: bool = False
    loaded: tuple[LoadedRecord, ...] = ()
    memories: tuple[MemoryContents, ...] = ()
    entered: int | None = None
    firmware_cr3: int | None = None


NOTHING = Known()
