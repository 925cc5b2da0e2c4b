"""Makes files as the plugin of QEMU leaves them, sparse, of a few records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cr3scope.input.writers import layout
from cr3scope.input.writers.layout import Section

RESET = 0xFFFFFFF0
TABLE = 0xDFBA000  # the one page that is written to
LOADER = 0xDF98130
# A call of the firmware's, in it the loader's own function, in it an interrupt and its handler.
CALLS = [(0xFEA95F2, 0, 5, 0), (0xDF98024, 1, 5, 0), (0xDF98100, 2, 0, 1), (0xF059700, 3, 5, 0)]


def records(
    stores: Sequence[tuple[int, int, int, int]] = ((1, 2, 1, 0),),
    events: Sequence[tuple[int, int, int, int, int, int]] = ((0xDF98190, 2, 0, 2, 2, 1),),
    before: Mapping[int, int] = {},
    after: Mapping[int, int] = {},
    parts: Mapping[int, int] = {},
    others: Mapping[int, int] = {},
) -> dict[Section, bytes]:
    """Return the sections of a boot: ``stores`` are those of the table's first words. ``parts``: of a word, which half its store
    touched alone; ``others``: which store the other half then has.
    """
    values = bytearray(layout.VALUES_BYTES)
    for at, has_at, words in ((0, layout.HAS_BEFORE_AT, before), (layout.AFTER_AT, layout.HAS_AFTER_AT, after)):
        for index, value in words.items():
            layout.VALUE.pack_into(values, at + 8 * index, value)
            values[has_at + index // 8] |= 1 << index % 8
    slots = b"".join(layout.SLOT.pack(number | parts.get(number - 1, 0)) for number in range(1, len(stores) + 1))
    halves = bytearray(layout.SLOTS_BYTES)
    for number, store in others.items():
        layout.SLOT.pack_into(halves, layout.SLOT.size * number, store)
    trail = [(1, 1), (2, 3), (3, 1)]
    return {
        Section.INSTRUCTIONS: b"".join(layout.INSTRUCTION.pack(LOADER + 8 * each, 4, 0) for each in range(4)),
        Section.CALLS: b"".join(layout.CALL.pack(*each) for each in CALLS),
        Section.STORES: b"".join(layout.STORE.pack(*each) for each in stores),
        Section.MOMENTS: b"".join(layout.MOMENT.pack(1000 * each, 0, 0, 0) for each in range(1, 6)),
        Section.EVENTS: b"".join(layout.EVENT.pack(*each) for each in events),
        Section.BLOCKS: b"".join(layout.BLOCK.pack(*each) for each in
                                 ((RESET, RESET, 1, 2), (0x100, 0x108, 3, 2), (0x200, 0x200, 1, 1))),
        Section.TRAILS: layout.TRAIL_HEAD.pack(len(trail), 9000)
        + b"".join(layout.TRAIL_ENTRY.pack(*each) for each in trail).ljust(layout.TRAIL_LENGTH * layout.TRAIL_ENTRY.size, b"\0"),
        Section.PAGES: layout.PAGE.pack(TABLE, 1, 1),
        Section.SLOTS: slots.ljust(layout.SLOTS_BYTES, b"\0"),
        Section.VALUES: bytes(values),
        Section.HALVES: bytes(halves),
    }  # fmt: skip


def header(counts: Sequence[int], events: int = 0, flags: int = 0, magic: int = layout.MAGIC, guest: tuple[int, ...] = (0, 0, 0, 0, 0),
           counts_ram: int = 0) -> bytes:  # fmt: skip
    return layout.HEADER.pack(magic, layout.LAYOUT_VERSION, 1, flags, counts_ram, *guest, events, *counts, *layout.offsets().values())


def write(file: Path, sections: Mapping[Section, bytes], head: bytes | None = None, flags: int = 0) -> Path:
    """Write a file with these sections; ``head`` takes the place of the header that fits them."""
    counts = [len(sections.get(section, b"")) // size for section, (_most, size) in layout.SIZES.items()]
    with open(file, "wb") as opened:
        opened.write(header(counts, counts[Section.EVENTS], flags) if head is None else head)
        for section, data in sections.items():
            opened.seek(layout.offsets()[section])
            opened.write(data)
    return file
