"""Where things lie in the plugin's file: `scripts/qemu_plugin/layout.h`, with which a test compares this."""

from __future__ import annotations

import struct
from enum import Enum, IntEnum
from typing import Final

MAGIC: Final = 0x315352574F433352
LAYOUT_VERSION: Final = 2
PAGE_WORDS: Final = 512
TRAIL_LENGTH: Final = 1 << 13
HEADER: Final = struct.Struct("<QIIIIQQQQQQ11Q11Q")
# What whoever runs QEMU writes into the header: how addresses are counted, and what of the guest is RAM.
COUNTS_RAM_AT: Final = 20
COUNTS_RAM: Final = struct.Struct("<I")
GUEST_AT: Final = 24
GUEST: Final = struct.Struct("<QQQQQ")
FIRST_SECTION: Final = 1 << 20
ALIGNMENT: Final = 1 << 20


class Section(IntEnum):
    """The sections by their numbers."""

    INSTRUCTIONS = 0
    CALLS = 1
    STORES = 2
    MOMENTS = 3
    EVENTS = 4
    BLOCKS = 5
    TRAILS = 6
    PAGES = 7
    SLOTS = 8
    VALUES = 9
    HALVES = 10


class Part(Enum):
    """Which part of 8 bytes a store has touched; all that is neither half alone is ``WHOLE``."""

    WHOLE = "whole"
    LOW = "low"
    HIGH = "high"


INSTRUCTION: Final = struct.Struct("<QII")
CALL: Final = struct.Struct("<QIHH")
STORE: Final = struct.Struct("<IIII")
MOMENT: Final = struct.Struct("<QQII")
EVENT: Final = struct.Struct("<QIHHII")
BLOCK: Final = struct.Struct("<QQII")
TRAIL_HEAD: Final = struct.Struct("<QQ")
TRAIL_ENTRY: Final = struct.Struct("<II")
PAGE: Final = struct.Struct("<QII")
SLOT: Final = struct.Struct("<I")
SLOTS_BYTES: Final = PAGE_WORDS * SLOT.size
SLOT_LOW: Final = 1 << 30  # in a slot: that store touched no byte of the word's upper half
SLOT_HIGH: Final = 1 << 31
SLOT_STORE: Final = SLOT_LOW - 1
VALUE: Final = struct.Struct("<Q")
AFTER_AT: Final = PAGE_WORDS * VALUE.size
HAS_BEFORE_AT: Final = 2 * AFTER_AT
HAS_AFTER_AT: Final = HAS_BEFORE_AT + PAGE_WORDS // 8
VALUES_BYTES: Final = HAS_AFTER_AT + PAGE_WORDS // 8
# How many records of how many bytes each section has at most.
SIZES: Final = {
    Section.INSTRUCTIONS: (1 << 20, INSTRUCTION.size),
    Section.CALLS: (1 << 22, CALL.size),
    Section.STORES: (1 << 22, STORE.size),
    Section.MOMENTS: (1 << 21, MOMENT.size),
    Section.EVENTS: (1 << 16, EVENT.size),
    Section.BLOCKS: (1 << 20, BLOCK.size),
    Section.TRAILS: (1 << 8, TRAIL_HEAD.size + TRAIL_LENGTH * TRAIL_ENTRY.size),
    Section.PAGES: (1 << 23, PAGE.size),
    Section.SLOTS: (1 << 23, SLOTS_BYTES),
    Section.VALUES: (1 << 23, VALUES_BYTES),
    Section.HALVES: (1 << 23, SLOTS_BYTES),
}
FULL: Final = 2  # a flag: some stores are not recorded
HALVES_LOST: Final = 32  # of some words it is not known who wrote the other half


# What an instruction changes that shapes the switch, by its number.
EVENTS: Final = ("", "CR0", "CR3", "CR4", "CR8", "MSR", "GDTR", "IDTR", "TR", "LDTR", "MSW", "far jump", "far call", "far return")
SWITCH: Final = EVENTS[2]


def offsets() -> dict[Section, int]:
    """Return where each section begins."""
    found, at = {}, FIRST_SECTION
    for section, (most, size) in SIZES.items():
        found[section] = at
        at += -(-most * size // ALIGNMENT) * ALIGNMENT
    return found
