"""``info tlb`` of QEMU's monitor (target/i386/monitor.c): a line for each leaf, with its own bits.

The format is that of QEMU 1.3 to 10; up to 1.2 addresses of 32-bit guests had 8 digits. Pages of 4 KiB show no PAT bit and
large ones show P; the size of a large page is not printed, and frames lose what is above bit 49. In PAE paging NX is printed
with the frame, and of a page of 4 MiB what its frame has above 32 bits is not printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cr3scope.arrays import U64, Data
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import CACHE_PCD, CACHE_PWT, Form, Listing, Rows, merged
from cr3scope.input.sources.listing_text import (
    Grammar,
    Lines,
    hex_column,
    last_listing,
    matrix,
    read_lines,
)
from cr3scope.paging.compare import Tells
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.paging.range_kind import page_sizes
from cr3scope.x86 import entry as bits
from cr3scope.x86.cpu_state import PagingMode
from cr3scope.x86.word import FOUR_GIB

if TYPE_CHECKING:
    import numpy.typing as npt

GRAMMAR = Grammar(
    re.compile(rb"[0-9a-f]{16}: [0-9a-f]{16} [X-][G-][P-][D-][A-][C-][T-][U-][W-]"),
    re.compile(
        rb"^[0-9a-f]+(:( [0-9a-f]*( [XGPDACTUW-]*)?)?)?$|[0-9a-f]{8}: [0-9a-f]{4}|"
        rb": [0-9a-f]{16}|^[0-9a-f]* ?[XGPDACTUW-]{5,9}$"
    ),
)
SHORT = Grammar(
    re.compile(rb"(?<![0-9a-f])[0-9a-f]{8}: [0-9a-f]{8,16} [X-]?[G-][P-][D-][A-][C-][T-][U-][W-]"),
    re.compile(rb"^[0-9a-f]{1,8}(:( [0-9a-f]{0,16}( [XGPDACTUW-]*)?)?)?$|^[0-9a-f]{0,8}: [0-9a-f]{8,16} ?[XGPDACTUW-]*$"),
)
FORM = Form(
    "`info tlb`",
    Tells(is_bound=True, cache_bits=int(CACHE_PWT | CACHE_PCD), types=False),
    levels=True,
    gaps=(
        "`info tlb` shows each leaf's own bits: an entry above may deny w, x or u as well, so a"
        " right that is shown is an upper bound, and only a denied one is certain",
        "`info tlb` shows neither the PAT bit nor the PAT (no memory types), nor the entries above"
        " the leaves, and lists entries with reserved bits as if they mapped",
    ),
)
_NO_X = replace(FORM, tells=replace(FORM.tells, rights=int(RIGHT_WRITE | RIGHT_USER)))
_WIDTH = 44
_VIRT, _PHYS = slice(0, 16), slice(18, 34)
_X, _G, _P, _D, _A, _C, _T, _U, _W = range(35, 44)
_DASH = ord("-")
_LARGE = np.uint64(bits.level_bytes(3))
_FOUR_MIB = np.uint64(page_sizes(PagingMode.BITS_32)[2])
_FOUR_MIB_PAGES = (
    "large pages are taken as 4 MiB, those of 32-bit paging: they lie 4 MiB apart, and so do their frames; of a frame"
    " `info tlb` then prints the low 32 bits"
)
_MOST_PHYS = np.uint64(1 << 52)


def read_info_tlb(text: Data, path: str) -> Listing:
    """Return the ranges of the last listing in the text; UnusableInput if no line makes sense."""
    found = read_lines(text, GRAMMAR)
    return _read(found, found.lines, path, FORM)


def read_short_info_tlb(text: Data, path: str) -> Listing:
    """Return the same of addresses that have 8 digits; some of these versions do not print NX."""
    found = read_lines(text, SHORT)
    parts = [line.split() for line in found.lines]
    form = FORM if all(len(flags) == _FLAGS for _, _, flags in parts) else _NO_X
    lines = [b"%b: %b %b" % (virt[:-1].zfill(16), phys.zfill(16), flags.rjust(_FLAGS, b"-")) for virt, phys, flags in parts]
    return _read(found, lines, path, form)


_FLAGS = 9


def _read(found: Lines, lines: list[bytes], path: str, form: Form) -> Listing:
    cells = matrix(lines, _WIDTH)
    virt = hex_column(cells[:, _VIRT])
    chosen = last_listing(found, virt)
    cells, virt = cells[chosen.numbers], virt[chosen.numbers]
    phys = hex_column(cells[:, _PHYS])
    is_set = cells != _DASH
    large = is_set[:, _P]
    mode = _mode(virt, phys, large)
    phys &= _MOST_PHYS - np.uint64(1)
    sizes = page_sizes(mode)
    wrong = _misaligned(virt, phys, large, np.uint64(sizes[2]))
    if wrong.all():
        raise UnusableInput(f"{path}: no line of `info tlb` in it makes sense")
    if wrong.any():
        bad = int(np.flatnonzero(wrong)[0])
        chosen.losses.append(
            f"{int(wrong.sum())} lines have misaligned addresses and are left out; the first:"
            f" {int(virt[bad]):016x}"
        )
        cells, virt, phys = cells[~wrong], virt[~wrong], phys[~wrong]
        is_set, large = is_set[~wrong], large[~wrong]
    levels, doubt = _levels(virt, phys, large)
    if mode in (PagingMode.BITS_32, PagingMode.PAE):
        levels, doubt = np.minimum(levels, np.uint64(2)), np.zeros_like(doubt)
    span = np.array(sizes, dtype=np.uint64)[levels.astype(np.intp)]
    rows = Rows(
        virt,
        virt + (span - np.uint64(1)),
        phys,
        _flag(is_set[:, _W], RIGHT_WRITE) | _flag(is_set[:, _U], RIGHT_USER)
        | _flag(~is_set[:, _X], RIGHT_EXECUTE),
        levels,
        _flag(is_set[:, _C], CACHE_PCD) | _flag(is_set[:, _T], CACHE_PWT),
    )  # fmt: skip
    notes = [*chosen.notes, *_size_doubts(virt, doubt)]
    if mode is PagingMode.BITS_32:
        notes.append(_FOUR_MIB_PAGES)
    elif mode is PagingMode.LEVELS_4:
        notes += _may_be_four_mib(virt, large)
    return replace(merged(form, rows, notes, chosen.losses), mode=mode)


def _flag(column: npt.NDArray[np.bool_], bit: np.uint64) -> U64:
    return column.astype(np.uint64) * bit


def _misaligned(virt: U64, phys: U64, large: npt.NDArray[np.bool_], size: np.uint64) -> npt.NDArray[np.bool_]:
    below = np.where(large, size, np.uint64(bits.PAGE_BYTES)) - np.uint64(1)
    wrong: npt.NDArray[np.bool_] = (virt | phys) & below != 0
    return wrong


def _mode(virt: U64, phys: U64, large: npt.NDArray[np.bool_]) -> PagingMode:
    """PAE prints bit 63 with the frame. Pages of 4 MiB lie so far apart, without one in between.

    Other listings of PAE guests are as those of long mode.
    """
    if len(virt) and (virt >= np.uint64(FOUR_GIB)).any():
        return PagingMode.LEVELS_4
    if (phys >= _MOST_PHYS).any():
        return PagingMode.PAE
    at, frames = virt[large], phys[large]
    follows = (at[1:] - at[:-1] == _FOUR_MIB) & (frames[1:] - frames[:-1] == _FOUR_MIB)
    is_short = bool(follows.any()) and _may_all_be_four_mib(virt, large)
    return PagingMode.BITS_32 if is_short else PagingMode.LEVELS_4


def _may_all_be_four_mib(virt: U64, large: npt.NDArray[np.bool_]) -> bool:
    """Whether each large page is aligned to 4 MiB, and no page begins in the 4 MiB of one."""
    is_aligned = not (virt[large] & (_FOUR_MIB - np.uint64(1))).any()
    return is_aligned and bool((virt[1:] - virt[:-1] >= _FOUR_MIB)[large[:-1]].all())


def _may_be_four_mib(virt: U64, large: npt.NDArray[np.bool_]) -> Iterator[str]:
    """Of a listing that a 32-bit guest may have made, with pages whose size nothing tells."""
    is_low = bool(len(virt)) and not (virt >= np.uint64(FOUR_GIB)).any()
    if is_low and large.any() and _may_all_be_four_mib(virt, large):
        yield "pages that are taken as 2 MiB may be of 4 MiB: `info tlb` of 32-bit paging prints those alike"


def _levels(
    virt: U64, phys: U64, large: npt.NDArray[np.bool_]
) -> tuple[U64, npt.NDArray[np.bool_]]:
    """Level of each leaf, and where it is in doubt.

    A large page is one of 2 MiB if it or its frame is not aligned to 1 GiB, or if another page
    begins in the same GiB.
    """
    doubt = large & ((virt | phys) & (_LARGE - np.uint64(1)) == 0)
    doubt[:-1] &= virt[1:] - virt[:-1] >= _LARGE
    return np.where(doubt, 3, np.where(large, 2, 1)).astype(np.uint64), doubt


def _size_doubts(virt: U64, doubt: npt.NDArray[np.bool_]) -> Iterator[str]:
    count = int(doubt.sum())
    if count:
        first = int(virt[int(np.flatnonzero(doubt)[0])])
        pages = "page is" if count == 1 else "pages are"
        yield (
            f"{count} large {pages} taken as 1 GiB (the first at {first:#x}): `info tlb` prints a"
            " 2 MiB page that is alone in its GiB alike"
        )
