"""``info pg`` of QEMU's monitor, in the forks and patches that have it: ranges of entries of all levels, nested.

One form is that of the teaching kernels' QEMU (32-bit guests, two levels), another that of the patches for QEMU 9, with any
number of levels. Entries that are alike are folded into one line, and whole tables that are; what each line shows are an
entry's own bits, so that the rights of a page are those of its line and of all lines above it together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cr3scope.arrays import Data
from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import CACHE_PCD, CACHE_PWT, Form, Listing, Rows, merged
from cr3scope.input.sources.listing_text import Grammar, read_lines
from cr3scope.paging.compare import Tells
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.x86.entry import PAGE_OFFSET, PAGE_SHIFT
from cr3scope.x86.word import MASK64

_FLAGS = rb"[X-][G-][S-][D-][A-][C-][T-][U-][W-]P"
_NAME = rb"(?:PML5|PML4|PDPE?|PDE|PTE)"
_FRAMES = rb"(?:[ \t]+[0-9a-f]{5,13}(?:-[0-9a-f]{5,13})?)*(?:[ \t]+\.\.)?(?![0-9a-f])"
GRAMMAR = Grammar(
    re.compile(
        rb"\[[0-9a-f]{5,12}-[0-9a-f]{5,12}\][ \t]+%b\[[0-9a-f]{3}(?:-[0-9a-f]{3})?\][ \t]+%b%b" % (_NAME, _FLAGS, _FRAMES)
    ),
    re.compile(
        rb"^\[[0-9a-f]{1,12}(?:-[0-9a-f]{0,12}(?:\][ \t]{0,40}[PMLDTE45]{0,4}(?:\[[0-9a-f-]{0,7}\]?)?(?:[ \t]{1,40}[XGSDACTUWP-]{0,10})?)?)?$"
        rb"|%b\[[0-9a-f]{3}(?:-[0-9a-f]{3})?\][ \t]+%b" % (_NAME, _FLAGS)
    ),
)
FORM = Form(
    "`info pg`",
    Tells(cache_bits=int(CACHE_PWT | CACHE_PCD), types=False),
    levels=True,
    gaps=(
        "`info pg` shows neither the PAT bit nor the PAT (no memory types), and lists entries with reserved bits as if they"
        " mapped",
    ),
)
_NO_FRAMES = replace(FORM, tells=replace(FORM.tells, frames=False))
_PARTS = re.compile(
    rb"\[([0-9a-f]+)-([0-9a-f]+)\]\s+(PML5|PML4|PDPE?|PDE|PTE)\[([0-9a-f]{3})(?:-([0-9a-f]{3}))?\]\s+(%b)((?:\s+[0-9a-f]+"
    rb"(?:-[0-9a-f]+)?)*)(\s+\.\.)?" % _FLAGS
)
_LEVELS = {b"PML5": 5, b"PML4": 4, b"PDP": 3, b"PDPE": 3, b"PDE": 2, b"PTE": 1}
_ROOTS = {12: 5, 9: 4}  # by digits of a page's number; with 5 there are three levels (PAE), or two
_PAE, _SHORT = 3, 2
_FRAME, _SHORT_FRAME = 10, 5  # digits
_ALL = int(RIGHT_WRITE | RIGHT_USER | RIGHT_EXECUTE)


@dataclass(slots=True)
class _Line:
    first: int  # pages
    last: int
    level: int
    index: int
    last_index: int
    rights: int
    cache: int
    is_leaf: bool
    frames: list[tuple[int, int]]
    frame_digits: frozenset[int]
    is_shortened: bool
    digits: int


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    last: int
    rights: int
    level: int
    cache: int
    frame: int | None


def read_info_pg(text: Data, path: str) -> Listing:
    """Return the ranges of the last listing in the text; UnusableInput if no line makes sense."""
    found = read_lines(text, GRAMMAR)
    listings = list(_listings([line for line in map(_line, found.lines) if line is not None]))
    if not listings:
        raise UnusableInput(f"{path}: no line of `info pg` in it makes sense")
    notes, losses = [], list(found.losses)
    if len(listings) > 1:
        notes.append(f"the text holds {len(listings)} listings: the last one is taken")
    lines = listings[-1]
    root = _root(lines)
    ranges = sorted(_ranges(lines, root, losses), key=lambda one: one.first)
    if not ranges:
        raise UnusableInput(f"{path}: no line of `info pg` in it maps a page, or those above are missing")
    form = FORM
    unknown = sum(one.frame is None for one in ranges)
    if unknown:
        form = _NO_FRAMES
        notes.append(f"`info pg` shortens the frames of {unknown} ranges: frames are not told")
    top = 1 << (9 * root + PAGE_SHIFT - 1) if root > _PAE else 0  # the highest bit of an address
    columns = (
        (_address(one.first, top) for one in ranges),
        (_address(one.last, top) | PAGE_OFFSET for one in ranges),
        ((one.frame or 0) << PAGE_SHIFT for one in ranges),
        (one.rights for one in ranges),
        (one.level for one in ranges),
        (one.cache for one in ranges),
    )
    return merged(form, Rows(*(np.array(list(column), dtype=np.uint64) for column in columns)), notes, losses)


def _line(text: bytes) -> _Line | None:
    parts = _PARTS.match(text)
    if parts is None:
        return None
    level, flags = _LEVELS[parts[3]], parts[6]
    rights = int(RIGHT_EXECUTE) * (b"X" not in flags) | int(RIGHT_USER) * (b"U" in flags) | int(RIGHT_WRITE) * (b"W" in flags)
    cache = int(CACHE_PCD) * (b"C" in flags) | int(CACHE_PWT) * (b"T" in flags)
    numbers = parts[7].split()
    frames = [_pair(one) for one in numbers]
    widths = frozenset(len(digits) for one in numbers for digits in one.split(b"-"))
    return _Line(
        int(parts[1], 16), int(parts[2], 16), level, int(parts[4], 16), int(parts[5] or parts[4], 16), rights, cache,
        level == 1 or level <= _PAE and (b"S" in flags or bool(frames)), frames, widths, parts[8] is not None, len(parts[1]),
    )  # fmt: skip


def _pair(text: bytes) -> tuple[int, int]:
    first, _, last = text.partition(b"-")
    return int(first, 16), int(last or first, 16)


def _listings(lines: list[_Line]) -> Iterator[list[_Line]]:
    """In one listing the pages only rise."""
    current: list[_Line] = []
    leaf = -1
    for line in lines:
        fresh = current and (line.digits != current[0].digits or line.is_leaf and line.first <= leaf)
        upper = current and not line.is_leaf and line.first < leaf and line.first < current[-1].first
        if fresh or upper:
            yield current
            current, leaf = [], -1
        current.append(line)
        leaf = line.last if line.is_leaf else leaf
    if current:
        yield current


def _root(lines: list[_Line]) -> int:
    known = _ROOTS.get(lines[0].digits)
    return known if known is not None else max(_SHORT, min(_PAE, max(line.level for line in lines)))


def _ranges(lines: list[_Line], root: int, losses: list[str]) -> Iterator[_Range]:
    """The leaves, with the rights of all levels."""
    above: dict[int, _Line] = {}
    orphans = wrong = 0
    for line in lines:
        above = {level: other for level, other in above.items() if level > line.level}
        if not line.is_leaf:
            above[line.level] = line
            continue
        if not _is_sound(line, root):
            wrong += 1
            continue
        path = [above.get(level) for level in range(line.level + 1, root + 1)]
        if any(other is None or not _covers(other, line, root) for other in path):
            orphans += 1
            continue
        rights = line.rights
        for other in path:
            assert other is not None
            rights &= _ALL if root == _PAE == other.level else other.rights  # there a PDPTE has none of its own
        if line.frame_digits != {_SHORT_FRAME if root == _SHORT else _FRAME}:  # one is cut
            line.frames = []
        yield from _with_frames(line, rights, 0 if root == _SHORT and line.level > 1 else line.level)
    if wrong:
        losses.append(f"{wrong} lines contradict themselves, and are left out")
    if orphans:
        losses.append(f"{orphans} lines have no line of each entry above them, whose rights count as well: left out")


def _shift(level: int, root: int) -> int:
    """The lowest bit of a page's number that a level indexes."""
    return (10 if root == _SHORT else 9) * (level - 1)


def _is_sound(line: _Line, root: int) -> bool:
    shift = _shift(line.level, root)
    mask = 3 if root == _PAE == line.level else 1023 if root == _SHORT else 511
    aligned = not line.first & (1 << shift) - 1 and not (line.last + 1) & (1 << shift) - 1
    return line.last >= line.first and aligned and line.first >> shift & mask == line.index and line.last >> shift & mask == line.last_index


def _covers(upper: _Line, line: _Line, root: int) -> bool:
    """Whether an entry above maps this range; its own end is not believed: some versions print its beginning."""
    shift = _shift(upper.level, root)
    first, last = upper.first >> shift, (upper.first >> shift) + upper.last_index - upper.index
    return first <= line.first >> shift and line.last >> shift <= last


def _with_frames(line: _Line, rights: int, level: int) -> Iterator[_Range]:
    pages = line.last - line.first + 1
    step = 1 if line.level == 1 else pages // max(line.last_index - line.index + 1, 1)
    frames = line.frames
    if not line.is_shortened and len(frames) == 1 and frames[0][1] - frames[0][0] in (pages - 1, pages - step):
        yield _Range(line.first, line.last, rights, level, line.cache, frames[0][0])
    elif not line.is_shortened and all(one == other for one, other in frames) and 1 < len(frames) == pages // step:
        for number, (frame, _) in enumerate(frames[:limits.LISTING_FRAMES]):
            first = line.first + number * step
            yield _Range(first, first + step - 1, rights, level, line.cache, frame)
    else:
        yield _Range(line.first, line.last, rights, level, line.cache, None)


def _address(page: int, top: int) -> int:
    """A page's address, canonical: sign-extended from the bit ``top``."""
    address = page << PAGE_SHIFT
    return (address | -top) & MASK64 if address & top else address
