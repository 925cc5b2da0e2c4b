"""Decodes page-table dumps and word streams (docs/trace-format.md, "The dump stream")."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.word_stream import Stream, StreamError, Words
from cr3scope.x86.entry import ENTRIES, PAGE_BYTES, PAGE_SHIFT
from cr3scope.x86.word import MASK64

_PRESENT = np.uint64(1)
_PAGE_NUMBERS = 1 << 40  # physical addresses have at most 52 bits


@dataclass(slots=True)
class Pages:
    """What a dump stream decodes to."""

    tables: dict[int, Words] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Return the number of table pages in the stream."""
        return len(self.tables) + len(self.unreadable)


@dataclass(slots=True)
class Budget:
    """How many table pages may still be decoded; what a broken stream took is gone too."""

    most: int
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.most

    def spend(self, count: int) -> None:
        """Take ``count`` pages off the budget; StreamError if so many are no longer allowed."""
        if count > self.left:
            raise StreamError(f"{count} more table pages, the limit for a capture is {self.most}")
        self.left -= count


def decode_tables(data: bytes, budget: Budget) -> Pages:
    """Return every table page of a dump stream; StreamError if it breaks the format or the budget."""
    stream, pages = Stream(data), Pages()
    page = 0
    last: Words | None = None
    level = 0
    while (operation := stream.byte()) != 0:
        if operation == 2:
            if last is None:
                raise StreamError(f"a repetition of nothing before byte {stream.at:#x}")
            count, page_step, step = stream.varint(), stream.signed(), stream.signed()
            if count < 1 or page_step == 0:
                raise StreamError(f"a repetition of no new page before byte {stream.at:#x}")
            budget.spend(count)
            _check_page(page + page_step * count, stream)
            _check_page(page + page_step, stream)
            repeated = _repeated(last, count, step)
            last = repeated[-1]
            for row in repeated:
                page += page_step
                _add(pages, page, row, stream)
            continue
        page += stream.signed() + 1
        level = stream.byte()
        _check_page(page, stream)
        budget.spend(1)
        if not 1 <= level <= 5:
            raise StreamError(f"a table of level {level} before byte {stream.at:#x}")
        if operation == 1:
            last = _entries(stream)
        elif operation == 3:
            raw = np.frombuffer(stream.take(PAGE_BYTES), dtype="<u8")
            last = raw.astype(np.uint64, copy=False)
        elif operation == 4:
            last = None
        else:
            raise StreamError(f"unknown operation {operation:02x} before byte {stream.at:#x}")
        _add(pages, page, last, stream)
    if not stream.at_end():
        raise StreamError(f"bytes follow the end of the stream at byte {stream.at:#x}")
    return pages


def decode_words(data: bytes, length: int, planes: int) -> bytes:
    """Return the ``length`` bytes that a word stream of ``planes`` planes carries.

    StreamError if it breaks the format.
    """
    stream = Stream(data)
    words = np.zeros((length + 7) // 8, dtype=np.uint64)
    if planes > max(len(words), 1):
        raise StreamError(f"{planes} planes for {len(words)} words")
    for plane in range(planes):
        words[plane::planes] = stream.words(len(words[plane::planes]))
    if not stream.at_end():
        raise StreamError(f"bytes follow the last plane at byte {stream.at:#x}")
    padded = words.astype("<u8", copy=False).tobytes()
    if any(padded[length:]):
        raise StreamError("the padding is not zero")
    return padded[:length]


def _repeated(last: Words, count: int, step: int) -> Words:
    """``count`` tables, each like the one before it with ``step`` added to its present entries.

    An addition can clear the P bit or carry into it only if ``step`` is odd; then each table
    decides anew which of its entries are present.
    """
    if step & 1:
        rows = np.empty((count, ENTRIES), dtype=np.uint64)
        for row in rows:
            row[:] = np.where(last & _PRESENT, last + np.uint64(step & MASK64), last)
            last = row
        return rows
    added = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(step & MASK64)
    repeated: Words = np.multiply.outer(added, last & _PRESENT)
    repeated += last
    return repeated


def _entries(stream: Stream) -> Words:
    values = stream.words(ENTRIES)
    rotated: Words = (values >> np.uint64(1)) | (values << np.uint64(63))
    if np.bitwise_or.reduce(rotated) & np.uint64(0x60):
        raise StreamError(f"accessed or dirty among the values before byte {stream.at:#x}")
    counts: list[int] = []
    used: list[int] = []
    done = 0
    while done < ENTRIES:
        head = stream.varint()
        count = head >> 2
        if not 1 <= count <= ENTRIES - done:
            raise StreamError(f"a run of {count} entries before byte {stream.at:#x}")
        counts.append(count)
        used.append((head & 3) << 5)
        done += count
    return rotated | np.repeat(np.array(used, dtype=np.uint64), counts)


def _check_page(page: int, stream: Stream) -> None:
    if not 0 <= page < _PAGE_NUMBERS:
        raise StreamError(f"a table page beyond physical memory before byte {stream.at:#x}")


def _add(pages: Pages, page: int, entries: Words | None, stream: Stream) -> None:
    phys = page << PAGE_SHIFT
    if phys in pages.tables or phys in pages.unreadable:
        raise StreamError(f"table page {phys:#x} stands twice, before byte {stream.at:#x}")
    if entries is None:
        pages.unreadable.add(phys)
    else:
        pages.tables[phys] = entries
